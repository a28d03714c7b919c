"""Edit-distance kNN: how few edits turn one representation's list of neighbours into the other's?"""

from functools import cache

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.checks import check_pair
from probes.lists import expected, longer, relabel, subsample_lists
from probes.neighbours import neighbours

INVARIANCES = frozenset({"rotation", "scale", "permutation"})
SYMMETRIC = True


def edit_distance_knn(x: Tensor, y: Tensor, k: int = 10) -> Score:
    """1 - the mean Levenshtein distance of the lists of k neighbours by cosine, divided by k.

    It asks for the same neighbours at the same places, so it is low where mutual kNN is not. The null is the
    mean over permutations: to a row of x every list is as likely in y (`expected`). The interval is a jackknife
    over blocks of rows.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy).
        k: neighbours.

    Raises:
        UserError: rows differ in number, a value is not finite, x or y does not vary, or k is not below n.

    Source: platonic-rep (Huh et al., arXiv 2405.07987), `edit_distance_knn`, without its clipping of features
    and without the parallel loop that loses three quarters of the distances.
    """
    check_pair(x, y)
    of_x, of_y = neighbours(x, longer(len(x), k)), neighbours(y, longer(len(y), k))
    value = compare(of_x[:, :k], of_y[:, :k])
    return Score(value, _null(len(x), k), subsample_lists(compare, of_x, of_y, k), len(x))


def prepare(x: Tensor, k: int = 10) -> Tensor:
    """The k neighbours (n, k) of each row of x (n, d)."""
    return neighbours(x, k)


def compare(a: Tensor, b: Tensor) -> float:
    """The value from two lists of neighbours (n, k)."""
    return 1 - levenshtein(a, b).double().mean().item() / a.shape[1]


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """The value had y been y[order], order (n,)."""
    return compare(a, relabel(b, order))


def levenshtein(a: Tensor, b: Tensor) -> Tensor:
    """Insertions, deletions and replacements that turn each row of a into that of b, both (n, k): (n,)."""
    column = torch.arange(b.shape[1] + 1, dtype=torch.int32, device=b.device)
    cost = column.repeat(len(b), 1)
    for entry in a.T[..., None]:
        match = (b == entry) & (entry >= 0)
        # Less the column, an insertion is free, so the best of all insertions is a running minimum.
        cost[:, 1:] = torch.minimum(cost[:, 1:] + 1, cost[:, :-1] + ~match)
        cost[:, 0] += 1
        cost = (cost - column).cummin(dim=1).values + column
    return cost[:, -1]


@cache
def _null(n: int, k: int) -> float:
    # Entries at their own places are (n - 1) ** -1 of all under permutation; only what shifts save is drawn.
    return 1 / (n - 1) + expected(lambda a, b: k - levenshtein(a, b) - (a == b).sum(dim=1), n, k) / k
