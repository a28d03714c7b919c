"""Centred features, and the refusal of features that do not vary."""

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.checks import check_rows


def mean(x: Tensor) -> Tensor:
    """The mean (d,) of rows x (n, d), exact where a column is constant."""
    return x[0] + (x - x[0]).mean(dim=0)


def centred(name: str, x: Tensor, least: int = 8) -> Tensor:
    """x (n, d) in float64 around its mean.

    Raises:
        UserError: x has fewer than `least` rows, a value is not finite, or no column varies.
    """
    rows = check_rows(name, x, least).detach().double()
    moved = rows - mean(rows)
    if moved.norm() <= torch.finfo(x.dtype).eps * rows.norm():
        raise UserError(
            f"{name}: its {len(x)} rows are all alike, so it has no structure to compare; "
            "check that the encoder has not collapsed and that the samples differ"
        )
    return moved
