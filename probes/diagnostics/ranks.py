"""Statistics of ranks, ties included."""

import torch
from torch import Tensor


def ranks(x: Tensor) -> Tensor:
    """Ranks of the last dimension of x (..., n), from 1; equal values share the mean of theirs. Float64 (..., n).

    Every value is held against every other: for some thousands of them at most.
    """
    one, other = x[..., :, None], x[..., None, :]
    below, equal = (comparison.sum(dim=-1).double() for comparison in (other < one, other == one))
    return below + (equal + 1) / 2


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Rank correlation (...) of x (..., n) and y (..., n); 0 where one of them does not vary, and so tells nothing."""
    u, v = (ranks(part) - (part.shape[-1] + 1) / 2 for part in (x, y))
    scale = (u.square().sum(dim=-1) * v.square().sum(dim=-1)).sqrt()
    return torch.where(scale > 0, (u * v).sum(dim=-1) / scale.clamp(min=torch.finfo(torch.float64).tiny), 0.0)


def wins(high: Tensor, low: Tensor) -> Tensor:
    """Which of high (n,) are above which of low (m,): 1, or 1/2 where they are equal, else 0; float64 (n, m).

    Its mean is the area under the ROC curve.
    """
    return (high[:, None] > low).double() + (high[:, None] == low).double() / 2
