"""When and where a token of a predictor stands: rotations and sums over frames, counted from the first that is read."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.encoders.positions import Grid, Learned, Positions, Rotation, coordinates, places
from jepa_wm.errors import UserError

FRAMES = 64
"""Frames that a table is made for at once."""


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


class FrameTable(nn.Module):
    """What is added to a predictor's tokens, by their frame and their place in it: nothing where positions only turn.

    Args:
        positions: fixed sines and cosines, for any frame, or a learned table, for as many as its grid has.
        grid: tokens of a frame in height and width.
        extra: tokens of a frame behind its own, which stand where the first of its own does.
        width: width W of the tokens.
    """

    def __init__(self, positions: Positions, grid: tuple[int, int], extra: int, width: int) -> None:
        super().__init__()
        self.positions, self.grid, self.extra, self.width = positions, grid, extra, width
        self.fixed = positions.additive((1, 1, 1), width) is not None
        table = positions.initial(width)
        self.position_table = None if table is None else nn.Parameter(table)

    def forward(self, x: Tensor, frames: range) -> Tensor:
        """Tokens x (B, T, N + extra, W) of `frames`, and what is added to them.

        Raises:
            UserError: if a learned table ends before the frames do.
        """
        made = _made(frames)
        rows: Tensor | None = None
        if isinstance(self.positions, Learned) and self.position_table is not None:
            made = self.positions.grid[0]
            if frames.stop > made:
                raise UserError(
                    f"Learned positions of {made} frames: got {frames.stop}, seen and imagined ones together; expected "
                    f"{made} at most; give its grid more frames and train, or take SinCos or TimeRope, which do not end"
                )
            rows = self.positions.table(self.position_table, (made, *self.grid))
        elif self.fixed:
            rows = places(self.positions, (made, *self.grid), self.width, 1, x.device)[0]
        return x if rows is None else x + _rows(rows, made, frames, self.extra)


def check_time(predictor: nn.Module, positions: Positions, width: int, head_dim: int) -> None:
    """Refuse positions that are the same in all frames: a predictor would not know which of them was first.

    Raises:
        UserError: if they are.
    """
    table, rotation = positions.additive((2, 1, 1), width), positions.rotary((2, 1, 1), head_dim)
    known = [] if rotation is None else [rotation.sin]
    known += [] if table is None else [table]
    learned = isinstance(positions, Learned) and positions.grid[0] > 1
    if not learned and all(torch.equal(first, second) for first, second in known):
        raise UserError(
            f"{type(predictor).__name__}.positions: {type(positions).__name__} is the same in all frames; expected "
            "TimeRope, Rope, SinCos of three axes, or Learned with a grid of several frames"
        )


def rotation_of(
    positions: Positions, grid: tuple[int, int], frames: range, extra: int, head_dim: int, device: torch.device
) -> Rotation | None:
    """How the tokens of `frames` are turned, `extra` ones of each, behind its own, as the first of its own."""
    made = _made(frames)
    rotation = places(positions, (made, *grid), head_dim, 1, device)[1]
    if rotation is None:
        return None
    cos, sin = (_rows(table, made, frames, extra).flatten(0, 1) for table in rotation[:2])
    return Rotation(cos, sin, rotation.halves)


def _made(frames: range) -> int:
    """Frames of a table that holds `frames`: few sizes, so that few tables are made."""
    return (frames.stop // FRAMES + 1) * FRAMES


def _rows(table: Tensor, made: int, frames: range, extra: int) -> Tensor:
    """The rows (T, N + extra, W) of `frames` in a table (made * N, W)."""
    own = table.unflatten(0, (made, -1))[frames.start : frames.stop]
    return torch.cat([own, own[:, :1].expand(-1, extra, -1)], dim=1)
