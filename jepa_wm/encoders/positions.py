"""Where a token stands: fixed sine-cosine tables, learned tables, and rotations of queries and keys.

A grid is (time, height, width) in tokens, time slowest; an image is a grid of one frame. A kind of positions gives
a table that is added to the embedded patches, fixed (`additive`) or learned (`initial`, `table`), or the `Rotation`
of queries and keys in every block (`rotary`).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.errors import UserError

Grid = tuple[int, int, int]


class Rotation(NamedTuple):
    """How queries and keys (B, N, heads, d) are turned: x * cos + partner(x) * sin.

    Attributes:
        cos: (N, d), or (B, N, d) where samples differ in their tokens.
        sin: as `cos`, the sign of the partner within.
        halves: whether the partner of a channel is d / 2 further, or its neighbour in a pair.
    """

    cos: Tensor
    sin: Tensor
    halves: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Turn x (B, N, k, heads, d)."""
        cos, sin = (table[..., None, None, :].to(x.dtype) for table in (self.cos, self.sin))
        partner = _opposites(x) if self.halves else _neighbours(x)
        return torch.addcmul(x * cos, partner, sin)

    def take(self, keep: Tensor) -> "Rotation":
        """The rotation of the tokens `keep` (B, K)."""
        return Rotation(self.cos[keep], self.sin[keep], self.halves)

    def to(self, device: torch.device) -> "Rotation":
        """The same on another device."""
        return Rotation(self.cos.to(device), self.sin.to(device), self.halves)

    def after(self, prefix: int) -> "Rotation":
        """The rotation of a sequence whose first `prefix` tokens stand nowhere and are not turned."""
        if not prefix:
            return self
        still = self.cos.new_ones(*self.cos.shape[:-2], prefix, self.cos.shape[-1])
        return Rotation(
            torch.cat([still, self.cos], -2), torch.cat([torch.zeros_like(still), self.sin], -2), self.halves
        )


class Positions:
    """A kind of positions: none by itself."""

    def initial(self, dim: int) -> Tensor | None:
        """The table (T * H * W, dim) that is learned, as it is at first; None where nothing is learned."""
        return None

    def table(self, learned: Tensor, grid: Grid) -> Tensor:
        """The table (N, dim) of a grid, from what became of `initial`."""
        raise NotImplementedError

    def additive(self, grid: Grid, dim: int) -> Tensor | None:
        """What is added to the patches of a grid, where it is fixed (N, dim)."""
        return None

    def rotary(self, grid: Grid, head_dim: int) -> Rotation | None:
        """How queries and keys of a grid are turned."""
        return None


class SinCos(Positions):
    """Fixed sines and cosines at geometric frequencies, an equal share of the channels for each axis.

    Args:
        axes: 3 for time, height and width; 2 for height and width, the same in all frames.

    Raises:
        UserError: if `axes` is neither 2 nor 3.

    Source: I-JEPA (arXiv 2301.08243) with two axes, the column in the first half of the channels as in its code;
    V-JEPA (arXiv 2404.08471) with three, in "uniform power".
    """

    def __init__(self, axes: int = 3) -> None:
        if axes not in (2, 3):
            raise UserError(f"SinCos.axes: got {axes}; expected 2 (height, width) or 3 (time, height, width)")
        self.axes = axes

    def additive(self, grid: Grid, dim: int) -> Tensor:
        share = math.ceil(dim / (2 * self.axes)) * 2
        time, row, column = coordinates(grid).unbind(1)
        order = (column, row) if self.axes == 2 else (time, row, column)
        return torch.cat([sincos(axis, share) for axis in order], dim=1)[:, :dim].float()


class Learned(Positions):
    """A learned table for one grid, resampled for others: by `mode` in height and width, linearly in time.

    Args:
        grid: tokens in time, height and width that the table is for.
        antialias: average where the other grid is coarser, as timm does; published models are of two minds.
        mode: "bicubic" or "bilinear".
        offset: added to the size that is asked for before it is divided by that of the table (.1 in DINOv2).

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929).
    """

    def __init__(
        self, grid: Grid = (1, 14, 14), antialias: bool = True, mode: str = "bicubic", offset: float = 0.0
    ) -> None:
        self.grid, self.antialias, self.mode, self.offset = grid, antialias, mode, offset

    def initial(self, dim: int) -> Tensor:
        return torch.nn.init.trunc_normal_(torch.empty(math.prod(self.grid), dim), std=0.02)

    def table(self, learned: Tensor, grid: Grid) -> Tensor:
        old = tuple(self.grid)
        return resample(learned, old, grid, self.antialias, self.mode, self.offset)  # type: ignore[arg-type]


class Rope(Positions):
    """Rotations by time, height and width, each in a third of a head's channels; channels left over stay.

    Args:
        tiled: V-JEPA 2's frequencies, which its weights were trained with: within a pair of channels the two
            differ, for its code repeats the table where it should repeat each entry. V-JEPA 2.1 has the right ones.
        pretrained: tokens a side of the grid that positions are squeezed onto; None counts tokens (V-JEPA 2).

    Raises:
        UserError: by `rotary`, if a head has less than a pair of channels for each axis.

    Source: V-JEPA 2 (arXiv 2506.09985) and 2.1 (arXiv 2603.14482), official code.
    """

    def __init__(self, tiled: bool = False, pretrained: int | None = None) -> None:
        self.tiled, self.pretrained = tiled, pretrained

    def rotary(self, grid: Grid, head_dim: int) -> Rotation:
        share = head_dim // 3 // 2 * 2
        if not share:
            raise UserError(f"Rope: got heads of {head_dim} channels; expected 6 at least, a pair for each axis")
        frequencies = 10000.0 ** -(torch.arange(share // 2, dtype=torch.float64) / (share / 2))
        place = coordinates(grid)
        if self.pretrained is not None:
            place[:, 1:] *= (self.pretrained - 1) / torch.tensor(grid[1:]).sub(1).clamp(min=1)
        angles = place[..., None] * frequencies
        angles = torch.cat([angles, angles], -1) if self.tiled else angles.repeat_interleave(2, -1)
        angles = F.pad(angles.flatten(1), (0, head_dim - 3 * share))
        sign = torch.tensor([-1.0, 1.0]).repeat(head_dim // 2 + 1)[:head_dim]
        return Rotation(angles.cos().float(), (angles.sin() * sign).float(), halves=False)


class CentredRope(Positions):
    """Rotations by height and width, from -1 to 1 across the image, the same in all frames.

    Args:
        base: ratio of the slowest to the fastest rotation.

    Raises:
        UserError: by `rotary`, if a head's channels cannot be shared out in fours.

    Source: DINOv3 (arXiv 2508.10104), official code; without its random shifts and scales in training.
    """

    def __init__(self, base: float = 100.0) -> None:
        self.base = base

    def rotary(self, grid: Grid, head_dim: int) -> Rotation:
        if head_dim % 4:
            raise UserError(f"CentredRope: got heads of {head_dim} channels; expected a multiple of 4")
        quarter = head_dim // 4
        frequencies = self.base ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
        place = 2 * (coordinates(grid)[:, 1:] + 0.5) / torch.tensor(grid[1:]) - 1
        angles = (2 * math.pi * place[..., None] * frequencies).flatten(1).tile(2)
        sign = torch.ones(head_dim).index_fill_(0, torch.arange(head_dim // 2), -1.0)
        return Rotation(angles.cos().float(), (angles.sin() * sign).float(), halves=True)


def _opposites(x: Tensor) -> Tensor:
    """The channel half a head away; the last of an odd number has none, is not turned, and stands for itself."""
    half = x.shape[-1] // 2
    return torch.cat([x[..., half : 2 * half], x[..., :half], x[..., 2 * half :]], dim=-1)


def _neighbours(x: Tensor) -> Tensor:
    """The other channel of each pair; the last of an odd number has none, is not turned, and stands for itself."""
    pairs = x.shape[-1] // 2 * 2
    other = x[..., :pairs].unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return other if pairs == x.shape[-1] else torch.cat([other, x[..., pairs:]], dim=-1)


def places(
    positions: Positions, grid: Grid, dim: int, heads: int, device: torch.device
) -> tuple[Tensor | None, Rotation | None]:
    """What is fixed of the positions of a grid: the table (N, dim) that is added, and the rotation in each head."""
    # What is made while a model is compiled or exported holds no numbers, and must serve nobody else.
    make = _made if torch.compiler.is_compiling() else _kept
    return make(positions, grid, dim, heads, device)


def _made(
    positions: Positions, grid: Grid, dim: int, heads: int, device: torch.device
) -> tuple[Tensor | None, Rotation | None]:
    # What is kept must serve training, too, when it is asked for first in inference mode.
    with torch.inference_mode(False):
        table, rotation = positions.additive(grid, dim), positions.rotary(grid, dim // heads)
        return None if table is None else table.to(device), None if rotation is None else rotation.to(device)


_kept = lru_cache(maxsize=64)(_made)


def coordinates(grid: Grid) -> Tensor:
    """Time, row and column (N, 3) of each token of a grid, float64."""
    axes = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in grid), indexing="ij")
    return torch.stack([axis.flatten() for axis in axes], dim=1)


def sincos(positions: Tensor, dim: int) -> Tensor:
    """Sines and cosines of `positions` (N,) at dim / 2 geometric frequencies -> float64 (N, dim)."""
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angles = positions.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def resample(
    table: Tensor, old: Grid, new: Grid, antialias: bool = True, mode: str = "bicubic", offset: float = 0.0
) -> Tensor:
    """A table (N, D) of the positions of grid `old`, for grid `new`; options as `Learned`."""
    if old == new:
        return table
    cells = table.float().unflatten(0, old).movedim(-1, 1)
    if old[1:] != new[1:]:
        scale = tuple((size + offset) / before for size, before in zip(new[1:], old[1:], strict=True))
        size, factor = (None, scale) if offset else (new[1:], None)
        cells = F.interpolate(cells, size, factor, mode, antialias=antialias)
    if old[0] != new[0]:
        rows = F.interpolate(cells.flatten(1).T[None], new[0], mode="linear")[0]
        cells = rows.T.unflatten(1, cells.shape[1:])
    return cells.movedim(1, -1).flatten(0, 2).to(table.dtype)
