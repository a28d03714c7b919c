"""What every probe asks of its input, said once."""

import torch
from torch import Tensor

from jepa_wm.errors import UserError


def check_rows(name: str, x: Tensor, least: int = 1) -> Tensor:
    """Return x (n, d) as it is.

    Raises:
        UserError: x is not a matrix, has fewer than `least` rows, or holds NaN or infinity.
    """
    if x.ndim != 2 or x.shape[1] == 0:
        raise UserError(f"{name}: got shape {tuple(x.shape)}, expected (n, d); pool the tokens of a sample first")
    if len(x) < least:
        raise UserError(f"{name}: got {len(x)} rows, expected at least {least}; probe more samples")
    if not torch.stack(x.aminmax()).isfinite().all():
        row = int(torch.nonzero(~x.isfinite())[0, 0])
        raise UserError(f"{name}: row {row} holds NaN or infinity; check the checkpoint and its input")
    return x


def check_pair(x: Tensor, y: Tensor, least: int = 1) -> None:
    """Ask that x (n, dx) and y (n, dy) describe the same n samples.

    Raises:
        UserError: as in `check_rows`, or their numbers of rows differ.
    """
    check_rows("x", x, least)
    check_rows("y", y, least)
    if len(x) != len(y):
        raise UserError(f"x has {len(x)} rows and y has {len(y)}; expected the same samples in the same order")
