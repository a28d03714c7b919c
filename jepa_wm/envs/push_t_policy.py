"""Scripted policies of Push-T: a pusher that brings the block to its goal, and a walk about the block.

Each is called as `policy(state, goal, factors) -> actions`, as those of `policies`: state and goal float (E, 8).
"""

import numpy as np

from jepa_wm.envs.policies import Factors, Walk
from jepa_wm.envs.push_t_physics import REACH
from jepa_wm.envs.push_t_route import CLEARANCE, FAR, RING, Ways, visible, ways
from jepa_wm.envs.tee import (
    BORDER,
    GYRATION,
    OUTLINE,
    RADIUS,
    SIDE,
    UNIT,
    signed_distance,
    to_block,
    to_world,
    turn_between,
)

# The block is left alone when it is so close to its goal and turned so little.
_NEAR, _TURNED = 5 / SIDE, np.pi / 45
# A push is thought no longer than this, since the block turns under it, and a change of contact costs as much way.
_PUSH, _PAUSE = 60 / SIDE, 40 / SIDE
# In one step the spring covers a quarter of the way to its target.
_PULL = 2.2
# A corner this close to a wall touches it; how far about the block the walk goes.
_TOUCH = 2 / SIDE
_AROUND = 120 / SIDE


class Pusher:
    """Brings the block to its goal, then itself: without noise it is a ceiling for learned policies.

    A frictionless push at a contact moves the block along the contact's normal and turns it by the contact's lever; in
    the metric of the block's mass this takes away most of the error to the goal where the goal wants the contact to
    move most. Of all contacts it takes the one with the greatest gain for its way, round the block and then pushing,
    and chooses anew at every step.

    Args:
        noise: standard deviation of Gaussian noise on the action.
        seed: of the random stream.
    """

    def __init__(self, noise: float = 0.0, seed: int = 0) -> None:
        self.noise = noise
        self.seed = seed
        self._random = np.random.default_rng(seed)

    def __call__(self, state: np.ndarray, goal: np.ndarray, factors: Factors) -> np.ndarray:
        state, goal = np.asarray(state, np.float64), np.asarray(goal, np.float64)
        unit = factors["block_scale"] * UNIT
        way = ways(_from_block(state, state), state, unit)
        away = np.sqrt(((goal - state)[:, 2:4] ** 2).sum(-1))
        done = (away < _NEAR) & (np.abs(turn_between(state, goal)) < _TURNED)
        aim = np.where(done[:, None], _walk(state, goal, unit, way), _push(state, goal, unit, way))
        action = _PULL * to_world(aim, state) / REACH
        action /= np.maximum(np.abs(action).max(-1, keepdims=True), 1)
        action += self.noise * self._random.standard_normal(action.shape)
        return np.clip(action, -1, 1).astype(np.float32)


def _push(state: np.ndarray, goal: np.ndarray, unit: np.ndarray, way: Ways) -> np.ndarray:
    """Where to (E, 2), from the pusher and as the block sees it, to bring the block nearer to its goal."""
    rows = np.arange(len(state))
    error = to_block(goal[:, 2:4] - state[:, 2:4], state)
    # How far the goal wants each contact to move, into the block.
    wanted = RING.levers * unit[:, None] * turn_between(state, goal)[:, None] - error @ RING.away.T
    depth = np.clip(wanted, 0, _PUSH)
    gain = depth * (2 * wanted - depth) / (1 + (RING.levers / GYRATION) ** 2)
    contact = RING.places(unit, 0)
    fits = signed_distance(contact[..., 0], contact[..., 1], unit[:, None]) > RADIUS - 1e-6
    useful = RING.edge & fits & ~_against_walls(state, unit)
    offset = _from_block(state, state)[:, None] - contact
    gap = (offset * RING.away).sum(-1)
    aside = offset - gap[..., None] * RING.away
    there = (np.sqrt((aside**2).sum(-1)) < 0.2 * unit[:, None]) & (gap < 1.5 * CLEARANCE) & (gap > -RADIUS)
    length = np.where(there, 1e-9, way.lengths + _PAUSE) + depth
    best = np.where(useful, gain / length, -1).argmax(-1)
    inwards = -RING.away[best] * (gap[rows, best] + 2 * depth[rows, best])[:, None] - aside[rows, best]
    ready = RING.places(unit, CLEARANCE)[rows, way.enter[rows, best]] - _from_block(state, state)
    return np.where(there[rows, best][:, None], inwards, ready)


def _against_walls(state: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Which contacts (E, L) would push a corner of the block into a wall that it touches."""
    corners = OUTLINE * unit[:, None, None]
    places = to_world(corners, state[:, None]) + state[:, None, 2:4] - 0.5
    touching = (np.abs(places) > 0.5 - BORDER - _TOUCH) * np.sign(places)
    spin = RING.levers[:, None] / (GYRATION**2 * unit[:, None, None])
    x, y = corners[:, None, :, 0], corners[:, None, :, 1]
    moves = np.stack([-spin * y, spin * x], -1) - RING.away[:, None]
    return (to_world(moves, state[:, None, None]) * touching[:, None]).max((2, 3)) > 0.1


def _walk(state: np.ndarray, goal: np.ndarray, unit: np.ndarray, way: Ways) -> np.ndarray:
    """Where to (E, 2), from the pusher and as the block sees it, to reach its own goal without touching the block."""
    pusher, target, places = _from_block(state, state), _from_block(goal, state), RING.places(unit, CLEARANCE)
    last = np.sqrt(((places - target[:, None]) ** 2).sum(-1)) + FAR * ~visible(target, places, unit)
    rows = np.arange(len(state))
    enter = places[rows, way.enter[rows, (way.lengths + last).argmin(-1)]]
    return np.where(visible(pusher, target[:, None], unit), target, enter) - pusher


def _from_block(pushers: np.ndarray, state: np.ndarray) -> np.ndarray:
    """The pushers (E, 2) of states (E, 8) as the blocks at `state` see them."""
    return to_block(pushers[:, :2] - state[:, 2:4], state)


class BlockWalk(Walk):
    """To one place after another about the block, each held for 3 to 12 steps: what lies on the way is pushed."""

    def __call__(self, state: np.ndarray, goal: np.ndarray, factors: Factors) -> np.ndarray:
        place = state[:, 2:4] + self._random.uniform(-_AROUND, _AROUND, (self.num_envs, 2))
        return np.clip((self._held(place, 3, 12) - state[:, :2]) / REACH, -1, 1).astype(np.float32)
