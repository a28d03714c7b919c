"""Variance and covariance: every dimension is used, and none says what another one says."""

import torch
from torch import Tensor

from jepa_wm import distributed
from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32


def variance_hinge(x: Tensor, over_ranks: bool = True, margin: float = 1.0, eps: float = 1e-4) -> Tensor:
    """Mean over sets and dimensions of how far a standard deviation is below `margin`.

    Args:
        x: sets of samples (V, n, D), as many on all ranks, n over all of them at least 2.
        over_ranks: whether each set is spread over the ranks; otherwise each rank has sets of its own.
        margin: the standard deviation from which nothing is lost.
        eps: added to the variance, so that the gradient of a dimension that is constant is finite.

    Raises:
        UserError: if a set has fewer than two samples.

    Source: VICReg (arXiv 2105.04906). Its official code measures each rank's samples alone.
    """
    with torch.autocast(x.device.type, enabled=False):
        rows, x = _samples(x, over_ranks), centred(x, over_ranks)
        variance = _mean(x.square().mean(dim=1), over_ranks) * (rows / (rows - 1))
        return (margin - (variance + eps).sqrt()).clamp(min=0.0).mean()


def covariance_penalty(x: Tensor, over_ranks: bool = True) -> Tensor:
    """Mean over sets and pairs of dimensions of their squared covariance.

    Args:
        x, over_ranks: as `variance_hinge`; V matrices of D x D numbers are held, and summed over the ranks.

    Raises:
        UserError: if a set has fewer than two samples.

    Source: VICReg (arXiv 2105.04906), which divides the sum over pairs by D. Here it is divided by their number
    D * (D - 1), as by the public codes whose weights world models are trained with (eb_jepa, stable-worldmodel).
    """
    with torch.autocast(x.device.type, enabled=False):
        rows, x = _samples(x, over_ranks), centred(x, over_ranks)
        covariance = _mean(x.mT @ x / x.shape[1], over_ranks) * (rows / (rows - 1))
        others = covariance - torch.diag_embed(covariance.diagonal(dim1=1, dim2=2))
        dim = x.shape[2]
        return others.square().sum(dim=(1, 2)).mean() / max(dim * (dim - 1), 1)


def centred(x: Tensor, over_ranks: bool = True) -> Tensor:
    """Sets of samples (V, n, D) in float32 at least, the mean of each set, over all ranks, taken away."""
    x = at_least_float32(x)
    return x - _mean(x.mean(dim=1, keepdim=True), over_ranks)


def _samples(x: Tensor, over_ranks: bool) -> int:
    """How many a set has, two or more."""
    rows = x.shape[1] * (distributed.world_size() if over_ranks else 1)
    if rows < 2:
        raise UserError(f"variance and covariance: got sets of {rows} samples; expected two at least")
    return rows


def _mean(x: Tensor, over_ranks: bool) -> Tensor:
    return distributed.all_reduce_mean(x) if over_ranks else x
