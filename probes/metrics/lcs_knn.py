"""LCS kNN: do two representations name the same neighbours in the same order?"""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.lists import expected, relabel, score
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
    return score(x, y, k, compare, null)


def prepare(x: Tensor, k: int = 10) -> Tensor:
    """The k neighbours (n, k) of each row of x (n, d)."""
    return neighbours(x, k)


def compare(a: Tensor, b: Tensor) -> float:
    """The value from two lists of neighbours (n, k)."""
    return longest(a, b).double().mean().item() / a.shape[1]


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """The value had y been y[order], order (n,)."""
    return compare(a, relabel(b, order))


def null(a: Tensor, b: Tensor) -> float:
    """Mean of the value over all permutations of the rows of y."""
    n, k = b.shape
    return expected(longest, n, k) / k


def longest(a: Tensor, b: Tensor) -> Tensor:
    """Length of the longest common subsequence of each row of a and b (n, k): (n,)."""
    best = torch.zeros(len(b), b.shape[1] + 1, dtype=torch.int32, device=b.device)
    for entry in a.T[..., None]:
        match = (b == entry) & (entry >= 0)
        best[:, 1:] = torch.maximum(best[:, 1:], best[:, :-1] + match).cummax(dim=1).values
    return best[:, -1]
