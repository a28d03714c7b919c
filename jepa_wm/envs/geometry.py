"""The plane of the two rooms: where walls and doors are, how a disc moves among them, how far apart points are.

The world is the unit square, x to the right and y down. Each function works on E environments at once:
points are float (E, 2), and what happens in one environment does not depend on the others.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

BORDER = 0.03
MAX_DOORS = 3
SUCCESS_DISTANCE = 16 / 224
TOLERANCE = 1e-6

# A step of the fastest disc (0.06 * sqrt(2)) in pieces of less than half the smallest radius (0.03):
# a centre can then never jump into or across a wall, and one piece meets at most one side of a door.
_PIECES = 6


class Geometry(NamedTuple):
    """E worlds: radius (E,) of the disc, half (E,) thickness of the wall, doors (E, 3, 2) as y intervals from top
    to bottom, and solids (E, 4, 2), the pieces of wall between them. Missing doors have width zero."""

    radius: np.ndarray
    half: np.ndarray
    doors: np.ndarray
    solids: np.ndarray

    def take(self, index: np.ndarray) -> "Geometry":
        """The worlds at `index` (an index array or a mask)."""
        return Geometry(*(part[index] for part in self))


def geometry(factors: Mapping[str, np.ndarray]) -> Geometry:
    """The geometry of factor values, arrays (E,).

    Of n doors, each is in its own of n equal bands of the wall, at the same relative height in it; with
    one door `door_position` is its centre.
    """
    number = factors["door_number"][:, None]
    width = factors["door_width"][:, None]
    band = (1 - 2 * BORDER) / number
    first, last = BORDER + width / 2, 1 - BORDER - width / 2
    relative = (factors["door_position"][:, None] - first) / (last - first)
    door = np.arange(MAX_DOORS)[None]
    top = BORDER + band * door + relative * (band - width)
    doors = np.stack([top, top + width], axis=-1)
    doors[door >= number] = 1 - BORDER
    edges = np.concatenate(
        [np.full((len(doors), 1), BORDER), doors.reshape(-1, 2 * MAX_DOORS), np.full((len(doors), 1), 1 - BORDER)], 1
    )
    solids = edges.reshape(-1, MAX_DOORS + 1, 2)
    return Geometry(factors["agent_size"] * 1.0, factors["wall_thickness"] / 2, doors, solids)


def overlap(world: Geometry, points: np.ndarray) -> np.ndarray:
    """How deep a disc at `points` reaches into a wall or the border: (E,), zero or less when it is free."""
    depth = _from_wall(world, points)[0]
    margin = BORDER + world.radius[:, None]
    border = np.maximum(margin - points, points - (1 - margin)).max(-1)
    return np.maximum(depth, border)


def move(world: Geometry, points: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Displace discs; at a wall they stop and slide along it. Float64 (E, 2)."""
    points = points.astype(np.float64)
    displacement = displacement.astype(np.float64)
    moved = _inside(world, points + displacement)
    reach = world.half + world.radius + np.abs(displacement[:, 0])
    near = np.flatnonzero(np.abs(points[:, 0] - 0.5) < reach)
    if len(near):
        moved[near] = _slide(world.take(near), points[near], displacement[near])
    return moved


def _slide(world: Geometry, points: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    for _ in range(_PIECES):
        ahead = points + displacement / _PIECES
        for _ in range(2):
            depth, normal = _from_wall(world, ahead)
            ahead = _inside(world, ahead + normal * np.maximum(depth, 0)[:, None])
        # Wedged between two corners: staying is always free.
        points = np.where((overlap(world, ahead) <= TOLERANCE / 2)[:, None], ahead, points)
    return points


def _inside(world: Geometry, points: np.ndarray) -> np.ndarray:
    margin = BORDER + world.radius[:, None]
    return np.clip(points, margin, 1 - margin)


def _from_wall(world: Geometry, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (E,) in the nearest piece of wall and the unit normal (E, 2) out of it."""
    half = world.half[:, None]
    x = np.broadcast_to(points[:, :1] - 0.5, world.solids.shape[:2])
    y = points[:, 1:]
    away = np.stack([x - np.clip(x, -half, half), y - np.clip(y, world.solids[..., 0], world.solids[..., 1])], -1)
    distance = np.sqrt((away * away).sum(-1))
    nearest = distance.argmin(-1)
    rows = np.arange(len(points))
    distance = distance[rows, nearest]
    normal = away[rows, nearest] / np.maximum(distance, TOLERANCE)[:, None]
    return world.radius - distance, normal


def distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Euclidean distance (E,), the one that success is defined by."""
    return np.sqrt(((points - others) ** 2).sum(-1))


def success(points: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Whether each disc is at its goal, (E,) bool: closer than 16/224 of the side.

    Source: TwoRoom of stable-worldmodel (16 px of 224, reached at any step). The Wall task of eb_jepa and
    DINO-WM asks for 4.5 px of 65, or 0.069 of the side, against 0.071 here.
    """
    return distance(points, goals) < SUCCESS_DISTANCE


def gaps(world: Geometry) -> np.ndarray:
    """Where the centre of the disc passes each door: y intervals (E, 3, 2); empty ones, low > high, are no door."""
    radius = world.radius[:, None, None]
    return world.doors + np.concatenate([radius, -radius], -1)


def path_distance(points: np.ndarray, others: np.ndarray, factors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Length (E,) of the shortest way of the disc's centre, through a door if there is a wall between.

    The way is a taut string through the two faces of the wall within the gap; it cuts the rounding of the
    door's corners, so it is a lower bound that falls short by a small part of the radius.
    """
    return path_lengths(geometry(factors), points, others).min(-1)


def path_lengths(world: Geometry, points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """As `path_distance`, by each of the three doors (E, 3); infinite where there is none."""
    swap = points[:, :1] > others[:, :1]
    start, end = np.where(swap, others, points), np.where(swap, points, others)
    faces = np.clip(np.stack([0.5 - world.half, 0.5 + world.half], -1), start[:, :1], end[:, :1])
    low, high = gaps(world)[..., 0], gaps(world)[..., 1]

    def crossing(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Where the line from a to b meets x, kept within the gap."""
        share = (x - a[0]) / np.maximum(b[0] - a[0], TOLERANCE)
        return np.clip(a[1] + share * (b[1] - a[1]), low, high)

    a, b = start.T[..., None], end.T[..., None]
    left, right = faces[:, :1], faces[:, 1:]
    ways = [(crossing(a, b, left), crossing(a, b, right))]
    # A taut string that bends does so at the edges of the gap: fix one crossing there, the other follows.
    for edge in (low, high):
        ways.append((edge, crossing(np.stack([np.broadcast_to(left, edge.shape), edge]), b, right)))
        ways.append((crossing(a, np.stack([np.broadcast_to(right, edge.shape), edge]), left), edge))
    lengths = [
        np.hypot(left - a[0], y - a[1]) + np.hypot(right - left, z - y) + np.hypot(b[0] - right, b[1] - z)
        for y, z in ways
    ]
    same_room = (end[:, 0] <= 0.5 - world.half) | (start[:, 0] >= 0.5 + world.half)
    through = np.where(low < high, np.min(lengths, axis=0), np.inf)
    return np.where(same_room[:, None], distance(points, others)[:, None], through)
