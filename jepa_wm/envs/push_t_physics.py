"""How a step of Push-T moves pusher and block: a pure function, by pymunk."""

import math

import numpy as np

from jepa_wm.envs.tee import BORDER, RADIUS, RECTANGLES, SIDE, UNIT
from jepa_wm.errors import UserError

try:
    import pymunk
except ImportError as error:
    raise UserError("Push-T needs pymunk: pip install 'jepa_wm[pusht]'") from error

REACH = 100 / SIDE
"""How far from the pusher an action of 1 sets its target."""

_SUBSTEPS, _SECONDS = 10, 0.01
_STIFFNESS, _DAMPING = 100.0, 20.0
# The pusher's mass in blocks, and the walls' thickness in pixels, which nothing is pressed through.
_STRENGTH, _THICK = 5, 100
_INSIDE = (BORDER + RADIUS) * SIDE, (1 - BORDER - RADIUS) * SIDE


def advance(state: np.ndarray, action: np.ndarray, scale: float) -> np.ndarray:
    """The state after a tenth of a second, float32 (8,), as `tee` describes it.

    A target at `action * REACH` from the pusher, within the walls, draws it as a critically damped spring would. The
    block slides without friction at its edges, stops when nothing pushes it, and rests between steps. The space is
    built anew at each step, so that nothing is remembered beside the state: played again, a step gives the same bits.

    Args:
        state: float32 (8,).
        action: in [-1, 1], (2,).
        scale: the block's size, 1 as published.

    Source: constants of Push-T in Diffusion Policy (gym-pusht) and stable-worldmodel, which keep one space alive
    with the contacts it remembers. Their pusher is infinitely heavy, and their block's
    centre of mass 4 px off; here it is the plate's own.
    """
    space, block, pusher = _space([float(part) for part in state], scale)
    target = [
        min(max(place + float(move) * REACH * SIDE, _INSIDE[0]), _INSIDE[1])
        for place, move in zip(pusher.position, action, strict=True)
    ]
    start = block.angle
    for _ in range(_SUBSTEPS):
        (x, y), (vx, vy) = pusher.position, pusher.velocity
        pusher.velocity = (
            vx + (_STIFFNESS * (target[0] - x) - _DAMPING * vx) * _SECONDS,
            vy + (_STIFFNESS * (target[1] - y) - _DAMPING * vy) * _SECONDS,
        )
        space.step(_SECONDS)
    # An untouched block keeps its sine and cosine to the bit.
    facing = state[4:6] if block.angle == start else (math.sin(block.angle), math.cos(block.angle))
    places = np.array([*pusher.position, *block.position, *pusher.velocity]) / SIDE
    return np.concatenate([places[:4], facing, places[4:]]).astype(np.float32)


def _space(state: list[float], scale: float) -> tuple[pymunk.Space, pymunk.Body, pymunk.Body]:
    """The world in pixels, in which pymunk's tolerances are meant, with its block and its pusher."""
    space = pymunk.Space()
    space.damping = 0
    # Overlap that a step leaves, since its last push moves the block in no further substep, is undone in the next.
    space.collision_bias = 0.5**60
    low, high = BORDER * SIDE - _THICK, (1 - BORDER) * SIDE + _THICK
    corners = [(low, low), (high, low), (high, high), (low, high)]
    for one, other in zip(corners, [*corners[1:], corners[0]], strict=True):
        space.add(pymunk.Segment(space.static_body, one, other, _THICK))
    block = pymunk.Body()
    shapes = [_rectangle(block, centre, half) for centre, half in RECTANGLES * UNIT * SIDE * scale]
    block.position, block.angle = (state[2] * SIDE, state[3] * SIDE), math.atan2(state[4], state[5])
    space.add(block, *shapes)
    pusher = pymunk.Body(_STRENGTH * block.mass, math.inf)
    pusher.velocity_func = _as_it_is
    pusher.position, pusher.velocity = (state[0] * SIDE, state[1] * SIDE), (state[6] * SIDE, state[7] * SIDE)
    space.add(pusher, pymunk.Circle(pusher, RADIUS * SIDE))
    return space, block, pusher


def _as_it_is(body: pymunk.Body, gravity: pymunk.Vec2d, damping: float, seconds: float) -> None:
    """The pusher's velocity is set by `advance`; only the block's is forgotten."""


def _rectangle(block: pymunk.Body, centre: np.ndarray, half: np.ndarray) -> pymunk.Poly:
    corners = [tuple(centre + half * signs) for signs in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    shape = pymunk.Poly(block, corners)
    shape.density = 1
    return shape
