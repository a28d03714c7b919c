"""Kernel matrices centred so that CKA is the cosine of two of them."""

import torch
from torch import Tensor

ROWS = 2048
"""Up to so many samples a layer is best kept as a matrix (n, n), which permutes in no time; above, as features."""


def centred(kernel: Tensor) -> Tensor:
    """A kernel (n, n) of features moved to their mean; products of two such are the biased HSIC."""
    rows = kernel.mean(dim=1)
    return kernel - rows[:, None] - rows[None, :] + rows.mean()


def u_centred(kernel: Tensor) -> Tensor:
    """A kernel (n, n) without its diagonal, centred so that products of two such are the unbiased HSIC.

    Source: Szekely and Rizzo (Annals of Statistics 2014, definition 2), the matrix form of eq. 5 of
    Song et al. (JMLR 2012).
    """
    n = len(kernel)
    kernel = kernel.clone().fill_diagonal_(0)
    rows = kernel.sum(dim=1)
    total = rows.sum() / ((n - 1) * (n - 2))
    return (kernel - rows[:, None] / (n - 2) - rows[None, :] / (n - 2) + total).fill_diagonal_(0)


def unit(matrix: Tensor) -> Tensor:
    """The matrix divided by its Frobenius norm; 0 stays 0."""
    norm = matrix.norm()
    return matrix / norm if norm > 0 else matrix


def inner(a: Tensor, b: Tensor) -> float:
    """The inner product of two matrices (n, n): CKA, where both are centred and of norm 1."""
    return torch.dot(a.flatten(), b.flatten()).item()


def reordered(matrix: Tensor, order: Tensor) -> Tensor:
    """The matrix (n, n) of the samples order (m,)."""
    return matrix[order][:, order]


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """The inner product of a (n, n) and of b (n, n) of the samples order (n,)."""
    return inner(a, reordered(b, order))


def above_diagonal(n: int) -> Tensor:
    """The mask (n, n) of each pair of samples once."""
    return torch.ones(n, n, dtype=torch.bool).triu(1)
