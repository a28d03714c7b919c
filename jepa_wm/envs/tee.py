"""The plane of Push-T: the block's shape, where points are about it, when a state is its goal.

The world is the unit square, x to the right and y down; lengths are fractions of its side. A state (8,) is the
pusher's centre x, y, the block's centre of mass x, y, the sine and cosine of its angle, and the pusher's velocity in
sides a second. Sine and cosine, not the angle: that jumps by a turn where the block does not move, and no linear
probe could follow it.
"""

import numpy as np

SIDE = 512
"""Pixels a side of the published world, in which lengths are given here."""

UNIT = 30 / SIDE
RADIUS = 15 / SIDE
BORDER = 6 / SIDE
SUCCESS_DISTANCE = 20 / SIDE
SUCCESS_ANGLE = np.pi / 9

# In thicknesses of the bar: a bar of 4 x 1 on a stem of 1 x 3, about the centre of mass of both.
_CENTRE = (4 * 0.5 + 3 * 2.5) / 7
_TOP, _UNDER, _END = -_CENTRE, 1 - _CENTRE, 4 - _CENTRE
RECTANGLES = np.array([[(0, (_TOP + _UNDER) / 2), (2, 0.5)], [(0, (_UNDER + _END) / 2), (0.5, 1.5)]])
"""Bar and stem, each as centre and half extent (2, 2, 2); at angle zero the stem points down."""

OUTLINE = np.array(
    [(-2, _TOP), (2, _TOP), (2, _UNDER), (0.5, _UNDER), (0.5, _END), (-0.5, _END), (-0.5, _UNDER), (-2, _UNDER)]
)
"""The corners (8, 2); on the way from each to the next the inside is on the right."""

# The stem reaches into the bar, so that the seam between them is inside.
_OVERLAPPING = np.array([RECTANGLES[0], [(0, (_TOP + _END) / 2), (0.5, 2)]])

LONGEST = float(np.hypot(*OUTLINE.T).max())
"""How far the farthest corner is from the centre, in thicknesses of the bar."""

_AREAS = 4 * RECTANGLES[:, 1].prod(-1)
GYRATION = float(np.sqrt((_AREAS * ((RECTANGLES[:, 1] ** 2).sum(-1) / 3 + RECTANGLES[:, 0, 1] ** 2)).sum() / 7))
"""The block's radius of gyration, in thicknesses of the bar."""


def signed_distance(x: np.ndarray, y: np.ndarray, unit: np.ndarray | float) -> np.ndarray:
    """How far points are from a T at the origin at angle zero: negative inside; exact outside, a bound inside.

    Args:
        x, y: of the points, any shape.
        unit: thickness of the bar, of a shape that broadcasts with theirs.
    """
    each = []
    for (cx, cy), (wide, high) in _OVERLAPPING:
        dx, dy = np.abs(x - cx * unit) - wide * unit, np.abs(y - cy * unit) - high * unit
        outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
        each.append(outside + np.minimum(np.maximum(dx, dy), 0))
    return np.minimum(*each)


def to_block(vectors: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Vectors (…, 2) of the world as the blocks of `states` (…, 8) see them."""
    sine, cosine = states[..., 4], states[..., 5]
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cosine * x + sine * y, cosine * y - sine * x], -1)


def to_world(vectors: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The inverse of `to_block`."""
    sine, cosine = states[..., 4], states[..., 5]
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], -1)


def turn_between(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """By which angle (…,) blocks must turn from `states` to `goals` (…, 8), in [-pi, pi]."""
    turn = to_block(goals[..., [5, 4]].astype(np.float64), states)
    return np.arctan2(turn[..., 1], turn[..., 0])


def overlap(states: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """How deep states (E, 8) reach into what is solid: (E,), zero or less when they are free.

    Args:
        states: E states.
        unit: thickness of the bars (E,).
    """
    pusher = to_block(states[:, :2] - states[:, 2:4], states)
    depth = RADIUS - signed_distance(pusher[:, 0], pusher[:, 1], unit)
    corners = to_world(OUTLINE * unit[:, None, None], states[:, None]) + states[:, None, 2:4]
    block = np.abs(corners - 0.5).max((1, 2)) - (0.5 - BORDER)
    border = np.abs(states[:, :2] - 0.5).max(-1) - (0.5 - BORDER - RADIUS)
    return np.max([depth, block, border], axis=0)


def measure(states: np.ndarray, goals: np.ndarray) -> dict[str, np.ndarray]:
    """How far states (E, 8) are from their goals: distance, angle, and success with and without the pusher.

    Source: Push-T of DINO-WM and stable-worldmodel: pusher and block together less than 20 px of 512 away, as one
    vector of four coordinates, and the block turned less than 20 degrees. There a block's place is the middle of its
    bar's outer edge, here its centre of mass. `block_success` is the same without the pusher.
    """
    away = (states - goals)[:, :4].astype(np.float64)
    angle = np.abs(turn_between(states, goals))
    distance = np.sqrt((away**2).sum(-1))
    turned = angle < SUCCESS_ANGLE
    return {
        "distance": distance,
        "angle": angle,
        "success": (distance < SUCCESS_DISTANCE) & turned,
        "block_success": (np.sqrt((away[:, 2:] ** 2).sum(-1)) < SUCCESS_DISTANCE) & turned,
    }
