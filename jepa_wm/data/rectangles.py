"""Rectangles on a grid of tokens: their sides, their places, and what several of them cover."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def sides(area: float | Tensor, aspect: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Heights and widths, in tokens, of rectangles of an area in tokens and a height over width, which broadcast."""
    square = torch.as_tensor(area)
    return (square * aspect).sqrt().round().clamp(1, height), (square / aspect).sqrt().round().clamp(1, width)


def rectangles(rows: Tensor, columns: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Rectangles of given sides (B, R) at random places: bool (B, R, H, W), every cell within reach."""
    inside_y, inside_x = _spans(rows, columns, height, width, generator)
    return inside_y[..., :, None] & inside_x[..., None, :]


def union(rows: Tensor, columns: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Cells that any of the `rectangles` covers, bool (B, H * W), without a map of each."""
    inside_y, inside_x = _spans(rows, columns, height, width, generator)
    return (inside_y.mT.float() @ inside_x.float() > 0).flatten(1)


@functools.cache
def mean_union(count: int, area: float, aspect: tuple[float, float], height: int, width: int) -> float:
    """How many cells `count` rectangles cover together on average, their aspects uniform in a range: exactly."""
    low, high = aspect
    high = max(high, low * (1 + 1e-9))  # A single aspect is a narrow range of them.
    # Sides are those of the aspects around them, but for where one of them is half way between two numbers of tokens.
    halves = torch.arange(max(height, width), dtype=torch.float64) + 0.5
    turns = torch.cat([halves.square() / area, area / halves.square()]) if area else halves
    edges = torch.cat([turns, turns.new_tensor([low, high])]).clamp(low, high).sort().values
    rows, columns = sides(area, (edges[1:] + edges[:-1]) / 2, height, width)
    share = edges.diff() / (high - low)
    cover = torch.einsum("a,ay,ax->yx", share, _reach(rows, height), _reach(columns, width))
    return float((1 - (1 - cover) ** count).sum())


def chosen(preferred: Tensor, count: int | Tensor, generator: torch.Generator) -> Tensor:
    """Random `count` (or (B, 1), one a row) of each row's cells, the preferred bool (B, N) before all others."""
    cells = preferred.shape[1]
    # All keys differ, so as many are below the bound as are wanted; numpy sorts some 40 times as fast as torch.
    keys = torch.randint(2**40, preferred.shape, generator=generator) * cells + torch.arange(cells)
    keys += (~preferred).long() << 62
    bounds = F.pad(torch.from_numpy(np.sort(keys.numpy(), axis=1)), (0, 1), value=3 << 61)
    return keys < bounds.gather(1, torch.as_tensor(count).expand(len(keys), 1))


def _spans(rows: Tensor, columns: Tensor, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which rows (B, R, H) and columns (B, R, W) rectangles at random places have."""
    u = torch.rand(2, *rows.shape, 1, generator=generator)
    rows, columns = rows[..., None], columns[..., None]
    top, left = (u[0] * (height - rows + 1)).floor(), (u[1] * (width - columns + 1)).floor()
    y, x = torch.arange(height), torch.arange(width)
    return (y >= top) & (y < top + rows), (x >= left) & (x < left + columns)


def _reach(side: Tensor, length: int) -> Tensor:
    """Probability (A, length) that a span of each length (A,), anywhere on an axis, has a place."""
    place, last = torch.arange(length, dtype=side.dtype), length - side[:, None]
    return (place.minimum(last) - (place - side[:, None] + 1).clamp(min=0) + 1) / (last + 1)
