"""Pairs of clips in the two rooms: one that can be, and its twin that is the same up to where it cannot.

E clips of T frames, each frame a block of `frame_skip` actions behind the one before. Nothing here knows a model.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from jepa_wm.envs.factors import FACTORS
from jepa_wm.envs.geometry import BORDER, Geometry, distance, geometry, move, overlap
from jepa_wm.envs.render import backgrounds, paint_discs
from jepa_wm.errors import UserError
from probes.drift import Film

Factors = Mapping[str, np.ndarray]

KINDS = ("teleport", "vanish", "recolour", "crossing")

TRIES = 512
LOUD = 150.0
"""A change of colour is at least this far in RGB."""


class Clip(NamedTuple):
    """What is to be seen, and what was done.

    Attributes:
        states: centres of the disc, float32 (E, T, 2).
        actions: float32 (E, T - 1, frame_skip * 2).
        color: of the disc, RGB (E, T, 3).
        shown: whether there is a disc, bool (E, T).
    """

    states: np.ndarray
    actions: np.ndarray
    color: np.ndarray
    shown: np.ndarray


class Twins(NamedTuple):
    """A clip that can be and one that cannot; they are the same before frame `since` (E,)."""

    possible: Clip
    impossible: Clip
    since: np.ndarray


def twins(states: np.ndarray, actions: np.ndarray, factors: Factors, seed: int = 0) -> dict[str, Twins]:
    """Pairs of each of `KINDS`.

    From a drawn frame on the disc is elsewhere and goes on from there (teleport), is gone (vanish), or has another
    colour (recolour). In a crossing the disc is driven straight at the wall where there is no door: it stops there,
    or goes through.

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
    clip = Clip(states, actions, color, np.ones((episodes, frames), bool))
    since = np.asarray(random.integers(1, frames, episodes))
    late = np.arange(frames) >= since[:, None]
    recoloured = np.where(late[..., None], _other_colors(factors["agent_color"], random)[:, None], color)
    return {
        "teleport": Twins(clip, clip._replace(states=_teleported(clip, factors, since, random)), since),
        "vanish": Twins(clip, clip._replace(shown=~late), since),
        "recolour": Twins(clip, clip._replace(color=recoloured), since),
        "crossing": _crossing(clip, factors, random),
    }


def render(clip: Clip, factors: Factors, size: int) -> np.ndarray:
    """The pictures of a clip: uint8 (E, T, 3, size, size)."""
    rooms = backgrounds(factors, size)
    frames = []
    for states, color, shown in zip(
        *(part.swapaxes(0, 1) for part in (clip.states, clip.color, clip.shown)), strict=True
    ):
        painted = paint_discs(rooms, states, factors["agent_size"], color)
        frames.append(np.where(shown[:, None, None, None], painted, rooms))
    return np.stack(frames, axis=1)


def film_of_clip(clip: Clip, factors: Factors, size: int) -> Film:
    """A clip as if it had been recorded."""
    return Film(*map(torch.from_numpy, (render(clip, factors, size), clip.actions, clip.states)))


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


def _teleported(clip: Clip, factors: Factors, since: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The states of a clip, from `since` (E,) on those that follow from a place beyond the reach of a block."""
    episodes, frames, _ = clip.states.shape
    rows = np.arange(episodes)
    place = _far(clip.states[rows, since - 1], geometry(factors), reach(clip.actions, factors), random)
    states = clip.states.copy()
    # From a teleport at frame t on the clip's own actions are played, those behind frame t.
    for time in range(1, frames):
        before = states[:, time - 1]
        following = roll(before, clip.actions[:, time - 1 : time], factors)[:, 1]
        states[:, time] = np.where(
            (since == time)[:, None], place, np.where((since < time)[:, None], following, states[:, time])
        )
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


def _crossing(clip: Clip, factors: Factors, random: np.random.Generator) -> Twins:
    """A disc that is driven at the wall from either side, at a height where the wall is solid."""
    world = geometry(factors)
    episodes, frames, _ = clip.states.shape
    stride = factors["agent_speed"] * (clip.actions.shape[-1] // 2)
    face, side = world.half + world.radius, random.choice([-1.0, 1.0], episodes)
    margin = BORDER + world.radius
    # It comes to the wall within the first half of the clip.
    away = face + stride * random.uniform(0, max(0.9, (frames - 1) // 2), episodes)
    start = np.stack([0.5 + side * np.minimum(away, 0.5 - margin), _solid_heights(world, random)], -1)
    drive = np.stack([-side, np.zeros(episodes)], -1)
    actions = np.tile(drive[:, None], (1, frames - 1, clip.actions.shape[-1] // 2)).astype(np.float32)
    stopped = roll(start, actions, factors)
    through = start[:, None] + drive[:, None] * (stride[:, None] * np.arange(frames))[..., None]
    through = np.clip(through, margin[:, None, None], 1 - margin[:, None, None]).astype(np.float32)
    possible = clip._replace(states=stopped, actions=actions)
    since = (np.abs(stopped - through).max(-1) > 1e-4).argmax(axis=1)
    # Up to there they are the same but for rounding, and are made so.
    through = np.where((np.arange(frames) < since[:, None])[..., None], stopped, through)
    return Twins(possible, possible._replace(states=through), since)


def _solid_heights(world: Geometry, random: np.random.Generator) -> np.ndarray:
    """A height (E,) of each world at which the middle of the disc meets the face of a piece of wall."""
    margin = BORDER + world.radius
    height = margin + (1 - 2 * margin) * random.uniform(0, 1, (TRIES, len(margin)))
    solid = ((world.solids[..., 0] < height[..., None]) & (height[..., None] < world.solids[..., 1])).any(axis=-1)
    return np.asarray(height[solid.argmax(axis=0), np.arange(len(margin))])
