"""Pictures of worlds: a background for each, painted once, and soft shapes painted on a copy."""

from collections.abc import Callable, Mapping

import numpy as np

from jepa_wm.envs.geometry import BORDER, geometry
from jepa_wm.envs.tee import LONGEST, signed_distance, to_block


def backgrounds(factors: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """Rooms without a disc, each pixel the mean of what it covers: uint8 (E, 3, size, size).

    Args:
        factors: values by name, (E,) or (E, 3).
        size: pixels a side.
    """
    world = geometry(factors)
    half = world.half[:, None]
    inner = np.array([[BORDER, 1 - BORDER]])
    inside = _cover(inner, size)
    wall = _cover(np.concatenate([0.5 - half, 0.5 + half], 1), size)
    left = _cover(np.array([[BORDER, 0.5]]), size)
    solid = np.sum([_cover(pieces, size) for pieces in world.solids.swapaxes(0, 1)], axis=0)
    out = np.empty((len(half), 3, size, size), np.uint8)
    # One world at a time: the float picture of a large batch would not fit in memory.
    for e in range(len(out)):
        border = 1 - inside[0][:, None] * inside[0][None, :]
        blocked = (border + solid[e][:, None] * wall[e][None, :])[None]
        west = left[0] / np.maximum(inside[0], 1e-9)
        colors = (factors[f"floor_color_{side}"][e].astype(np.float32)[:, None, None] for side in ("left", "right"))
        floor_left, floor_right = colors
        floor = floor_right + west * (floor_left - floor_right)
        paint = factors["wall_color"][e].astype(np.float32)[:, None, None]
        out[e] = floor + blocked * (paint - floor) + 0.5
    return out


def paint_discs(rooms: np.ndarray, points: np.ndarray, radius: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Copy `rooms` and paint a disc on each; its edge is one pixel soft, so that motion below a pixel is seen.

    Only a window as wide as the widest disc is touched, which makes the copy the main cost.

    Args:
        rooms: uint8 (E, 3, size, size).
        points: the discs' centres in [0, 1], (E, 2).
        radius: fractions of the side, (E,).
        color: RGB uint8, (E, 3).

    Returns:
        uint8 (E, 3, size, size).
    """

    def cover(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        edge = (radius * rooms.shape[-1] + 0.5).astype(np.float32)[:, None, None]
        return edge - np.sqrt(y**2 + x**2)

    return _paint(rooms, points, float(radius.max()), cover, color)


def paint_tees(grounds: np.ndarray, states: np.ndarray, unit: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Copy `grounds` and paint a block of Push-T on each, as `paint_discs` does.

    Args:
        grounds: uint8 (E, 3, size, size).
        states: as `tee` describes them, (E, 8).
        unit: thickness of the T's bar, in fractions of the side, (E,).
        color: RGB uint8, (E, 3).

    Returns:
        uint8 (E, 3, size, size).
    """
    thickness = (unit * grounds.shape[-1]).astype(np.float32)[:, None, None]
    facing = states[:, None, None].astype(np.float32)

    def cover(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        own = to_block(np.stack(np.broadcast_arrays(x, y), -1), facing)
        return np.float32(0.5) - signed_distance(own[..., 0], own[..., 1], thickness)

    return _paint(grounds, states[:, 2:4], LONGEST * float(unit.max()), cover, color)


def _paint(
    grounds: np.ndarray,
    points: np.ndarray,
    reach: float,
    cover: Callable[[np.ndarray, np.ndarray], np.ndarray],
    color: np.ndarray,
) -> np.ndarray:
    """Copy `grounds` and paint within `reach` of `points` (E, 2) what `cover` says: it takes x (E, 1, W) and y
    (E, W, 1) in pixels from the points, and gives the share of each pixel (E, W, W) that is covered, unclipped."""
    frames = grounds.copy()
    count, _, size, _ = grounds.shape
    window = min(int(np.ceil(2 * reach * size)) + 3, size)
    centre = points.astype(np.float32) * np.float32(size)
    corner = np.clip(np.round(centre - window / 2).astype(np.int64), 0, size - window)
    pixel = corner[:, :, None] + np.arange(window)  # (E, 2, window): columns, rows
    offset = ((pixel + np.float32(0.5)) - centre[:, :, None]).astype(np.float32)
    alpha = np.clip(cover(offset[:, 0, None, :], offset[:, 1, :, None]), 0, 1)[:, None]
    planes = (np.arange(count * 3) * size * size).reshape(count, 3, 1, 1)
    index = planes + (pixel[:, 1, :, None] * size + pixel[:, 0, None, :])[:, None]
    flat = frames.reshape(-1)
    under = flat[index].astype(np.float32)
    flat[index] = under + alpha * (color.astype(np.float32)[:, :, None, None] - under) + np.float32(0.5)
    return frames


def _cover(intervals: np.ndarray, size: int) -> np.ndarray:
    """The share of each of `size` pixels that lies in the intervals (E, 2): float32 (E, size)."""
    edges = np.arange(size) / size
    low, high = intervals[:, :1], intervals[:, 1:]
    covered = np.minimum(edges + 1 / size, high) - np.maximum(edges, low)
    return (np.maximum(covered, 0) * size).astype(np.float32)
