"""Pairs of clips in the two rooms: one that can be, and its twin that is the same up to where it cannot.

E clips of T frames, each frame a block of `frame_skip` actions behind the one before. Nothing here knows a model.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from jepa_wm.envs.factors import FACTORS
from jepa_wm.envs.geometry import BORDER, TOLERANCE, Geometry, distance, gaps, geometry, move, overlap
from jepa_wm.envs.render import backgrounds, paint_discs
from jepa_wm.errors import UserError
from probes.drift import Film

Factors = Mapping[str, np.ndarray]

KINDS = ("teleport", "vanish", "recolour", "crossing")

TRIES = 512
CLEAR = 0.005
"""Of the side, what is left between a disc and the edges of the door that it is driven through."""
LOUD = 150.0
"""A change of colour is at least this far in RGB."""


class Clip(NamedTuple):
    """What is to be seen, and what was done.

    Attributes:
        states: centres of the disc, float32 (E, T, 2).
        actions: float32 (E, T - 1, frame_skip * 2).
        color: of the disc, RGB (E, T, 3).
        shown: whether there is a disc, bool (E, T).
        factors: of each world, (E, ...) by name.
    """

    states: np.ndarray
    actions: np.ndarray
    color: np.ndarray
    shown: np.ndarray
    factors: Factors


class Twins(NamedTuple):
    """A clip that can be and one that cannot from frame `since` (E,) on; before, they are the same but for the height
    of a crossing."""

    possible: Clip
    impossible: Clip
    since: np.ndarray


def twins(states: np.ndarray, actions: np.ndarray, factors: Factors, seed: int = 0) -> dict[str, Twins]:
    """Pairs of each of `KINDS`.

    From a drawn frame on the disc is elsewhere and goes on from there (teleport), is gone (vanish), or has another
    colour (recolour). In a crossing it is driven straight on, from one room to the other: through a door or, in the
    twin, higher or lower, through the wall. Against a twin that stops at the wall, motion alone would tell.

    Args:
        states: of recorded clips, float32 (E, T, 2).
        actions: between them (E, T - 1, frame_skip * 2).
        factors: of each clip's world (E, ...).
        seed: draws where and when.

    Raises:
        UserError: if in some world no place is beyond the reach of a block, so that nothing is a teleport.
    """
    random = np.random.default_rng(seed)
    episodes, frames, _ = states.shape
    color = np.repeat(factors["agent_color"][:, None], frames, axis=1)
    clip = Clip(states, actions, color, np.ones((episodes, frames), bool), factors)
    since = np.asarray(random.integers(1, frames, episodes))
    late = np.arange(frames) >= since[:, None]
    recoloured = np.where(late[..., None], _other_colors(factors["agent_color"], random)[:, None], color)
    return {
        "teleport": Twins(clip, clip._replace(states=_teleported(clip, since, random)), since),
        "vanish": Twins(clip, clip._replace(shown=~late), since),
        "recolour": Twins(clip, clip._replace(color=recoloured), since),
        "crossing": _crossing(clip, random),
    }


def film_of_clip(clip: Clip, size: int) -> Film:
    """A clip as if it had been recorded, its frames (E, T, 3, size, size)."""
    rooms = backgrounds(clip.factors, size)
    frames = []
    for states, color, shown in zip(
        *(part.swapaxes(0, 1) for part in (clip.states, clip.color, clip.shown)), strict=True
    ):
        painted = paint_discs(rooms, states, clip.factors["agent_size"], color)
        frames.append(np.where(shown[:, None, None, None], painted, rooms))
    return Film(*map(torch.from_numpy, (np.stack(frames, axis=1), clip.actions, clip.states)))


def roll(start: np.ndarray, actions: np.ndarray, factors: Factors) -> np.ndarray:
    """Where a disc comes to from `start` (E, 2) by blocks of actions (E, J, frame_skip * 2): float32 (E, J + 1, 2)."""
    world, speed = geometry(factors), factors["agent_speed"][:, None]
    states = [start.astype(np.float32)]
    for block in actions.swapaxes(0, 1):
        at = states[-1]
        for action in block.reshape(len(block), -1, 2).swapaxes(0, 1):
            at = move(world, at, action * speed).astype(np.float32)
        states.append(at)
    return np.stack(states, axis=1)


def reach(actions: np.ndarray, factors: Factors) -> np.ndarray:
    """How far a block of actions (E, J, frame_skip * 2) can bring a disc at most: (E,), in sides of the world."""
    return np.asarray(factors["agent_speed"] * np.sqrt(2) * (actions.shape[-1] // 2))


def _teleported(clip: Clip, since: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The states of a clip, from `since` (E,) on those that follow from a place beyond the reach of a block."""
    factors, states, rows = clip.factors, clip.states.copy(), np.arange(len(since))
    place = _far(states[rows, since - 1], geometry(factors), reach(clip.actions, factors), random)
    for time in range(1, states.shape[1]):
        following = roll(states[:, time - 1], clip.actions[:, time - 1 : time], factors)[:, 1]
        later = np.where((since < time)[:, None], following, states[:, time])
        states[:, time] = np.where((since == time)[:, None], place, later)
    return states


def _far(points: np.ndarray, world: Geometry, least: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A free place (E, 2) of each world farther than `least` (E,) from points (E, 2)."""
    places = random.uniform(BORDER, 1 - BORDER, (TRIES, len(points), 2)).astype(np.float32)
    good = np.stack([(overlap(world, each) <= 0) & (distance(each, points) > least) for each in places])
    if not good.any(axis=0).all():
        number = int(np.flatnonzero(~good.any(axis=0))[0])
        raise UserError(
            f"impossible: got a block of actions that goes {least[number]:.2f} sides of the world; expected one that "
            "cannot go everywhere: a smaller frame_skip, or a slower disc"
        )
    return np.asarray(places[good.argmax(axis=0), np.arange(len(points))])


def _other_colors(colors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For each of colors (E, 3) one that is far from it."""
    drawn = np.array([[FACTORS["agent_color"].draw("sample", random) for _ in range(50)] for _ in colors], np.uint8)
    far = np.linalg.norm(drawn.astype(float) - colors[:, None].astype(float), axis=-1) >= LOUD
    return np.asarray(drawn[np.arange(len(colors)), far.argmax(axis=1)])


def _crossing(clip: Clip, random: np.random.Generator) -> Twins:
    """A disc that is driven from either side to the other: at the height of a door, and where the wall is solid."""
    episodes, frames, _ = clip.states.shape
    steps, world, side = clip.actions.shape[-1] // 2, geometry(clip.factors), random.choice([-1.0, 1.0], episodes)
    face, margin, stride = world.half + world.radius, BORDER + world.radius, clip.factors["agent_speed"] * steps
    # It comes to the wall within the first half of the clip.
    away = np.minimum(face + stride * random.uniform(0, max(0.9, (frames - 1) // 2), episodes), 0.5 - margin)
    drive = np.stack([-side, np.zeros(episodes)], -1)
    actions = np.tile(drive[:, None], (1, frames - 1, steps)).astype(np.float32)
    door = _heights(world, gaps(world), np.full(episodes, CLEAR), random)
    wall = _heights(world, world.solids, world.radius, random)
    through = roll(np.stack([0.5 + side * away, door], -1), actions, clip.factors)
    possible = clip._replace(states=through, actions=actions)
    shifted = through + np.stack([np.zeros(episodes), wall - door], -1)[:, None]
    within = (through[..., 0] - 0.5) * side[:, None] < face[:, None] - TOLERANCE
    return Twins(possible, possible._replace(states=shifted.astype(np.float32)), np.asarray(within.argmax(axis=1)))


def _heights(world: Geometry, intervals: np.ndarray, least: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A height (E,) of each world that is at least so far (E,) within one of its intervals (E, m, 2); where none is as
    wide, one of those that are nearly as far within as can be."""
    margin = BORDER + world.radius
    height = margin + (1 - 2 * margin) * random.uniform(0, 1, (TRIES, len(margin)))
    inside = np.minimum(height[..., None] - intervals[..., 0], intervals[..., 1] - height[..., None]).max(axis=-1)
    good = inside >= np.minimum(least, 0.8 * inside.max(axis=0))
    return np.asarray(height[good.argmax(axis=0), np.arange(len(margin))])
