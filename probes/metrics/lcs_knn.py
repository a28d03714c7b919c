"""LCS kNN: do two representations name the same neighbours in the same order?"""

from functools import cache

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.checks import check_pair
from probes.lists import expected, longer, relabel, subsample_lists
from probes.neighbours import neighbours

INVARIANCES = frozenset({"rotation", "scale", "permutation"})
SYMMETRIC = True


def lcs_knn(x: Tensor, y: Tensor, k: int = 10) -> Score:
    """Mean length of the longest common subsequence of the lists of k neighbours by cosine, divided by k.

    The null is the mean over permutations: to a row of x every list is as likely in y (`expected`). The interval
    is over subsamples of rows (`subsample`).

    Args:
        x, y: the same n samples, (n, dx) and (n, dy).
        k: neighbours.

    Raises:
        UserError: rows differ in number, a value is not finite, x or y does not vary, or k is not below n.

    Source: platonic-rep (Huh et al., arXiv 2405.07987), `lcs_knn`, without its clipping of features. Theirs is
    not divided by k: it is k times this.
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
    return longest(a, b).double().mean().item() / a.shape[1]


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """The value had y been y[order], order (n,)."""
    return compare(a, relabel(b, order))


def longest(a: Tensor, b: Tensor) -> Tensor:
    """Length of the longest common subsequence of each row of a and b (n, k): (n,)."""
    best = torch.zeros(len(b), b.shape[1] + 1, dtype=torch.int32, device=b.device)
    for entry in a.T[..., None]:
        match = (b == entry) & (entry >= 0)
        best[:, 1:] = torch.maximum(best[:, 1:], best[:, :-1] + match).cummax(dim=1).values
    return best[:, -1]


@cache
def _null(n: int, k: int) -> float:
    return expected(longest, n, k) / k
