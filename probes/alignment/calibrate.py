"""What chance would give: null, z, p corrected for everything searched, and effect."""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.errors import UserError


class Calibrated(NamedTuple):
    """The score of one pair of layers beside what chance gives.

    Attributes:
        value: of the metric.
        null: its mean over permutations.
        z: how many standard deviations of the permutations the value is above their mean.
        p: that the best of all pairs searched reaches this by chance, at least 1 / (permutations + 1).
        effect: (value - null) / (1 - null): 0 is chance, 1 is identity.
        interval: of the value, as though this pair had been chosen beforehand (see `intervals.interval`).
        n: rows.
        searched: pairs of layers that p is corrected for.
    """

    value: float
    null: float
    z: float
    p: float
    effect: float
    interval: tuple[float, float]
    n: int
    searched: int


def calibrate(values: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Null, z, p and effect of each value, all (Lx, Ly), from the values under permutations shared by all pairs.

    p is corrected by the maximum statistic: the share of permutations whose best pair, of all pairs, is at least
    as far above its own null as this one. What is compared are standard scores of each pair and not raw values: the
    largest raw value would always be that of the pairs whose null is highest (wide layers by biased CKA), and a
    pair with a low null could never be found. For p the permutations and the observed order are standardised together,
    since only then are they exchangeable and p exact; z, which is for reading, is by the permutations alone.

    Args:
        values: in the observed order, (Lx, Ly).
        draws: under P permutations, (P, Lx, Ly), P at least 2.

    Raises:
        UserError: a pair has the same value under every permutation, so that nothing can be said of it.

    Source: Westfall & Young (1993) for the maximum; Phipson & Smyth (arXiv 1603.05766) for the + 1 in p.
    """
    null, spread = draws.mean(dim=0), draws.std(dim=0)
    if not (spread > 1e-9).all():
        i, j = (~(spread > 1e-9)).nonzero()[0].tolist()
        raise UserError(
            f"x layer {i} and y layer {j} score {null[i, j]:.6g} in every order of the rows, so chance cannot be told "
            "from alignment; measure more samples, or take a metric that is not saturated"
        )
    every = torch.cat([values[None], draws])
    every = (every - every.mean(dim=0)) / every.std(dim=0)
    best = every[1:].amax(dim=(1, 2))
    # A permutation that gives the very same value counts, whatever the rounding.
    reached = (best[:, None, None] >= every[0] - 1e-9).sum(dim=0)
    p = (1 + reached).double() / (1 + len(draws))
    return null, (values - null) / spread, p, (values - null) / (1 - null)
