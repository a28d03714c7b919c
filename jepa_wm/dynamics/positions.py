"""When and where a token of a predictor stands: rotations over frames that go on for ever."""

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.encoders.positions import Grid, Positions, Rotation, coordinates, places

FRAMES = 64
"""Frames that a table of rotations is made for at once."""


class TimeRope(Positions):
    """Rotations by time alone, in all channels of a head.

    Args:
        base: ratio of the fastest to the slowest rotation.

    Source: RoFormer (arXiv 2104.09864), over frames.
    """

    def __init__(self, base: float = 100.0) -> None:
        self.base = base

    def rotary(self, grid: Grid, head_dim: int) -> Rotation:
        """How queries and keys of a grid are turned."""
        half = head_dim // 2
        frequencies = self.base ** -(torch.arange(half, dtype=torch.float64) / half)
        angles = F.pad((coordinates(grid)[:, :1] * frequencies).repeat(1, 2), (0, head_dim - 2 * half))
        sign = torch.ones(head_dim).index_fill(0, torch.arange(half), -1.0)
        return Rotation(angles.cos().float(), (angles.sin() * sign).float(), halves=True)


def rotation_of(
    positions: Positions, grid: tuple[int, int], frames: range, extra: int, head_dim: int, device: torch.device
) -> Rotation:
    """How the tokens of `frames` are turned, `extra` ones of each, behind its own, as the first of its own."""
    made = (frames.stop // FRAMES + 1) * FRAMES
    rotation = places(positions, (made, *grid), head_dim, 1, device)[1]
    assert rotation is not None

    def rows(table: Tensor) -> Tensor:
        own = table.unflatten(0, (made, -1))[frames.start : frames.stop]
        return torch.cat([own, own[:, :1].expand(-1, extra, -1)], dim=1).flatten(0, 1)

    return Rotation(rows(rotation.cos), rows(rotation.sin), rotation.halves)
