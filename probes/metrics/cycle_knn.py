"""Cycle kNN: does a step to a neighbour in y and a step to a neighbour in x lead back?"""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.checks import check_pair
from probes.lists import longer, relabel, subsample_lists
from probes.neighbours import neighbours

INVARIANCES = frozenset({"rotation", "scale", "permutation"})
SYMMETRIC = False


def cycle_knn(x: Tensor, y: Tensor, k: int = 10) -> Score:
    """Share of rows i that are among the k neighbours in x of one of the k neighbours that i has in y.

    It saturates: any of k ways back will do, so it is near 1 long before the lists agree. Nor is it 1 on
    identical input where a row is nobody's neighbour. The null is exact: a row that is in r lists of x is missed
    by k random ones with probability C(n - 1 - r, k) / C(n - 1, k). The interval is over subsamples of rows
    (`subsample`).

    Args:
        x, y: the same n samples, (n, dx) and (n, dy).
        k: neighbours.

    Raises:
        UserError: rows differ in number, a value is not finite, x or y does not vary, or k is not below n.

    Source: platonic-rep (Huh et al., arXiv 2405.07987), `cycle_knn`, without its clipping of features.
    """
    check_pair(x, y)
    of_x, of_y = neighbours(x, longer(len(x), k)), neighbours(y, longer(len(y), k))
    value = compare(of_x[:, :k], of_y[:, :k])
    return Score(value, _null(of_x[:, :k]), subsample_lists(compare, of_x, of_y, k), len(x))


def prepare(x: Tensor, k: int = 10) -> Tensor:
    """The k neighbours (n, k) of each row of x (n, d)."""
    return neighbours(x, k)


def compare(a: Tensor, b: Tensor) -> float:
    """The value from two lists of neighbours (n, k)."""
    row = torch.arange(len(a), device=a.device)[:, None]
    back = torch.zeros(len(a), dtype=torch.bool, device=a.device)
    for step in b.T:
        back |= (a[step] == row).any(dim=1) & (step >= 0)
    return back.double().mean().item()


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """The value had y been y[order], order (n,)."""
    return compare(a, relabel(b, order))


def _null(lists: Tensor) -> float:
    """Mean over all permutations of y, given the lists (n, k) of x."""
    n, k = lists.shape
    entered = torch.bincount(lists.flatten(), minlength=n).double()
    draws = torch.arange(k, dtype=torch.float64)
    missed = ((n - 1 - entered[:, None] - draws).clamp(min=0) / (n - 1 - draws)).prod(dim=1)
    return 1 - missed.mean().item()
