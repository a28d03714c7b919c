"""RSA: do two representations order the pairs of samples alike, from the nearest to the farthest?"""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes import kernels
from probes.centring import centred
from probes.checks import check_pair
from probes.resampling import interval, left_out

INVARIANCES = frozenset({"rotation", "scale", "translation", "permutation"})
SYMMETRIC = True

PAIRS = 2**20
"""All pairs of 1448 samples; of more samples, so many pairs drawn at random."""


class Ranks(NamedTuple):
    """A prepared layer.

    Attributes:
        pairs: distances of pairs (p,) as their ranks, centred and of norm 1.
        source: what gives the pairs of other orders: the same numbers for all pairs (n, n), or features (n, d).
        sampled: whether the pairs were drawn and `source` is features.
    """

    pairs: Tensor
    source: Tensor
    sampled: bool


def rsa(x: Tensor, y: Tensor) -> Score:
    """Spearman correlation of the Euclidean distances of all pairs of samples, ties having their mean rank.

    Of more than 1448 samples, 2^20 pairs are drawn (always the same ones for the same n). Its mean over
    permutations is 0. The interval is the jackknife's over 20 blocks of consecutive rows, ranks made anew.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n at least 8.

    Raises:
        UserError: rows differ in number or are too few, a value is not finite, or nothing varies.

    Source: Kriegeskorte et al. (Frontiers in Systems Neuroscience 2008). Their distance is 1 - Pearson, which
    depends on the basis and the mean; published codes differ (cosine, Euclidean), and so do their numbers.
    """
    check_pair(x, y)
    a, b = prepare(x, "x"), prepare(y, "y")
    n = len(x)
    value = compare(a, b)
    first, second = _pairs(n)
    refits = []
    for rows in left_out(n):
        stays = torch.zeros(n, dtype=torch.bool).index_fill_(0, rows, True)
        kept = stays[first] & stays[second]
        refits.append(torch.dot(_ranked(a.pairs[kept]), _ranked(b.pairs[kept])).item())
    return Score(value, 0.0, interval(value, refits), n)


def prepare(x: Tensor, name: str = "x") -> Ranks:
    """The ranks of the distances of x (n, d), made once a layer.

    Raises:
        UserError: as in `rsa`.
    """
    rows = centred(name, x)
    n = len(rows)
    if n * (n - 1) // 2 > PAIRS:
        return Ranks(_ranked(_distances(rows, *_pairs(n))), rows, True)
    # In the order of `_pairs`, and of differences: those of duplicates are then equal to the last digit.
    ranks = _ranked(torch.pdist(rows))
    matrix = torch.zeros(n, n, dtype=ranks.dtype)
    matrix[kernels.above_diagonal(n)] = ranks
    return Ranks(ranks, matrix + matrix.T, False)


def compare(a: Ranks, b: Ranks) -> float:
    """RSA of two prepared layers of the same samples."""
    return torch.dot(a.pairs, b.pairs).item()


def reordered(b: Ranks, order: Tensor) -> Ranks:
    """The prepared layer whose samples are order (n,): reorder once, then compare with many."""
    if b.sampled:
        rows = b.source[order]
        return Ranks(_ranked(_distances(rows, *_pairs(len(rows)))), rows, True)
    matrix = kernels.reordered(b.source, order)
    return Ranks(matrix[kernels.above_diagonal(len(order))], matrix, False)


def relabelled(a: Ranks, b: Ranks, order: Tensor) -> float:
    """RSA of x and y[order], order (n,)."""
    return compare(a, reordered(b, order))


def _pairs(n: int) -> tuple[Tensor, Tensor]:
    """The samples of each pair, (p,) and (p,)."""
    if n * (n - 1) // 2 <= PAIRS:
        first, second = torch.triu_indices(n, n, 1)
        return first, second
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(n, (PAIRS,), generator=generator)
    # Any of the others, all equally likely.
    return first, (first + torch.randint(1, n, (PAIRS,), generator=generator)) % n


def _distances(rows: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The distances (p,) of pairs of rows (n, d), a few thousand at once."""
    parts = zip(first.split(4096), second.split(4096), strict=True)
    return torch.cat([(rows[i] - rows[j]).norm(dim=1) for i, j in parts])


def _ranked(values: Tensor) -> Tensor:
    """The ranks of values (p,), ties having their mean rank, centred and of norm 1."""
    _, index, counts = values.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2).double()[index]
    return kernels.unit(ranks - ranks.mean())
