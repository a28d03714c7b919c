"""Lists of neighbours (n, k), nearest first: what the metrics that compare them share.

Entry -1 says that there is no such neighbour; it agrees with nothing.
"""

from collections.abc import Callable
from functools import cache
from math import comb

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.checks import check_pair
from probes.neighbours import neighbours

# Blocks of rows that a subsample keeps or leaves out, and subsamples an interval takes.
BLOCKS = 20
SUBSAMPLES = 30
# Random pairs of lists for each number of shared entries.
DRAWS = 4096


def longer(n: int, k: int) -> int:
    """Twice k neighbours, or all that n rows have, so that k are left where others are left out."""
    return max(k, min(2 * k, n - 1))


def relabel(lists: Tensor, order: Tensor) -> Tensor:
    """The lists (n, k) that `x[order]` has, from those of x, without a search; order (n,) is a permutation.

    Where two neighbours are equally near, the order in a list may differ from that of a new search.
    """
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    moved = lists[order]
    return torch.where(moved < 0, moved, place[moved])


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


def subsample(value: float, n: int, of_kept: Callable[[Tensor], float]) -> tuple[float, float]:
    """Value +- 1.96 standard errors over random three quarters of the rows, within [0, 1].

    A row that is left out is neither query nor neighbour, and the next nearest takes its place: no row is
    there twice, as in a bootstrap, where copies would be each other's neighbours. Rows go by blocks of
    consecutive ones. Leaving out one block at a time, as a jackknife does, gave errors of 1.3 to 3.3 times the
    true ones in simulations, since lists jump when a row leaves; with five of 20 it was 1.1 to 2.1 times.

    Args:
        value: of all rows.
        n: rows; keep those of an episode together.
        of_kept: the value of kept rows, bool (n,).
    """
    generator = torch.Generator().manual_seed(0)
    block = torch.arange(n) * min(BLOCKS, n) // n
    count = int(block[-1]) + 1
    left_out = max(1, count // 4)
    draws = [torch.randperm(count, generator=generator)[block] >= left_out for _ in range(SUBSAMPLES)]
    spread = torch.tensor([of_kept(kept) for kept in draws], dtype=torch.float64).std().item()
    error = 1.96 * spread * ((count - left_out) / left_out) ** 0.5
    return max(0.0, value - error), min(1.0, value + error)


def score(
    x: Tensor,
    y: Tensor,
    k: int,
    compare: Callable[[Tensor, Tensor], float],
    null: Callable[[Tensor, Tensor], float],
) -> Score:
    """A metric of x (n, dx) and y (n, dy) that compares their lists (n, k), with its null and its interval.

    Raises:
        UserError: as in `check_pair` and `neighbours`.
    """
    check_pair(x, y)
    a, b = (neighbours(z, longer(len(z), k)) for z in (x, y))
    value = compare(a[:, :k], b[:, :k])
    interval = subsample(value, len(x), lambda kept: compare(survivors(a, kept, k)[0], survivors(b, kept, k)[0]))
    return Score(value, null(a[:, :k], b[:, :k]), interval, len(x))


@cache
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
