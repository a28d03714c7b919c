"""What a mask is, and what all ways to draw one share."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from jepa_wm.errors import UserError

Grid = tuple[int, int, int]


class Mask(NamedTuple):
    """Token indices of a batch: `keep` (B, K) are seen, `predict` (B, G, M) are predicted, each group G by itself."""

    keep: Tensor
    predict: Tensor


class Masker(Protocol):
    """A way to draw masks."""

    def sample(self, grid: Grid, batch: int, generator: torch.Generator) -> Mask:
        """Draw masks for `batch` images or clips of a grid of (time, height, width) tokens."""
        ...


def check_arguments(mask: str, aspect: tuple[float, float], **arguments: float | tuple[float, float]) -> None:
    """Refuse counts below 1, shares beyond 0 to 1, and ranges that fall."""
    if not 0.0 < aspect[0] <= aspect[1]:
        raise UserError(f"{mask}.aspect: got {aspect}; expected a range above 0, its lower end first")
    for name, value in arguments.items():
        if not isinstance(value, tuple | list):
            if value < 1:
                raise UserError(f"{mask}.{name}: got {value}; expected 1 at least")
        elif not 0.0 <= value[0] <= value[1] <= 1.0:
            raise UserError(f"{mask}.{name}: got {value}; expected shares between 0 and 1, the lower first")


def indices(cells: Tensor) -> Tensor:
    """Ascending indices (B, M) of the cells that are set in bool (B, N), as many in each row."""
    places = torch.from_numpy(np.flatnonzero(cells.numpy())).view(len(cells), -1)
    return places - torch.arange(len(cells))[:, None] * cells.shape[1]


def tubes(cells: Tensor, time: int, area: int) -> Tensor:
    """Indices (..., M) of cells of a frame -> (..., time * M), the same cells in every frame."""
    return (cells[..., None, :] + torch.arange(time)[:, None] * area).flatten(-2)
