"""Lists of neighbours (n, k), nearest first: what the metrics that compare them share.

Entry -1 says that there is no such neighbour; it agrees with nothing.
"""

from collections.abc import Callable
from math import comb

import torch
from torch import Tensor

from probes.neighbours import neighbours

BLOCKS = 20
DRAWS = 4096


def long_lists(x: Tensor, k: int) -> Tensor:
    """Lists of twice k neighbours, or of all there are, of which k are left where others are left out.

    Raises:
        UserError: as in `neighbours`.
    """
    return neighbours(x, max(k, min(2 * k, len(x) - 1)))


def relabel(lists: Tensor, order: Tensor) -> Tensor:
    """The lists (n, k) that `x[order]` has, from those of x, without a search; order (n,) is a permutation.

    Where two neighbours are equally near, the order in a list may differ from that of a new search.
    """
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return place[lists[order]]


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Which entries of each row of lists a (n, k) are in the same row of lists b (n, l): bool (n, k)."""
    shared = torch.zeros_like(a, dtype=torch.bool)
    for column in b.T:
        shared |= a == column[:, None]
    return shared & (a >= 0)


def survivors(lists: Tensor, kept: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The first k neighbours (m, k) of the m kept rows among themselves, and their columns in lists (n, l).

    kept is bool (n,). Rows are numbered anew; a row with fewer than k kept entries ends in -1.
    """
    number = torch.where(kept, kept.cumsum(dim=0) - 1, -1)
    left = number[lists[kept]]
    columns = (left < 0).byte().argsort(dim=1, stable=True)[:, :k]
    return left.gather(1, columns), columns


def jackknife(value: float, n: int, of_kept: Callable[[Tensor], float]) -> tuple[float, float]:
    """Value +- 1.96 standard errors over blocks of consecutive rows left out, within [0, 1].

    A row that is left out is neither query nor neighbour, and the next nearest takes its place: no row is
    there twice, as in a bootstrap, where copies would be each other's neighbours.

    Args:
        value: of all rows.
        n: rows; keep those of an episode together.
        of_kept: the value of kept rows, bool (n,).
    """
    left_out = []
    for block in torch.arange(n).tensor_split(min(BLOCKS, n)):
        kept = torch.ones(n, dtype=torch.bool)
        kept[block] = False
        left_out.append(of_kept(kept))
    values = torch.tensor(left_out, dtype=torch.float64)
    error = 1.96 * ((len(values) - 1) * values.var(correction=0)).sqrt().item()
    return max(0.0, value - error), min(1.0, value + error)


def jackknife_of_lists(compare: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor, k: int) -> tuple[float, float]:
    """`jackknife` of a comparison of the first k of lists a and b (n, l), l above k."""
    return jackknife(
        compare(a[:, :k], b[:, :k]),
        len(a),
        lambda kept: compare(survivors(a, kept, k)[0], survivors(b, kept, k)[0]),
    )


def expected(gain: Callable[[Tensor, Tensor], Tensor], n: int, k: int) -> float:
    """Mean over all permutations of the rows of y of gain(a, b) -> (n,), for lists (n, k) of n rows.

    To a given row of x every list of k of the n - 1 others is as likely. How many entries it shares is
    hypergeometric; the gain given that many is a mean over seeded draws, 0 without any.
    """
    generator = torch.Generator().manual_seed(0)
    total, first = 0.0, torch.arange(k).expand(DRAWS, k)
    for shared in range(1, k + 1):
        chance = comb(k, shared) * comb(n - 1 - k, k - shared) / comb(n - 1, k)
        if chance < 1e-12:
            continue
        ours, places = (torch.rand(DRAWS, k, generator=generator).argsort(dim=1) for _ in range(2))
        ours[:, shared:] += k
        total += chance * gain(first, ours.gather(1, places)).double().mean().item()
    return total
