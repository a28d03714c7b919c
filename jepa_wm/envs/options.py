"""What a user hands to `reset`, checked: each function returns the plain form or raises `UserError`."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from jepa_wm.envs.geometry import BORDER, TOLERANCE, Geometry, overlap
from jepa_wm.errors import UserError


def refuse_unknown(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise if one of `names` is not `known`."""
    for name in names:
        if name not in known:
            raise UserError(f"reset: unknown {kind} '{name}'; the {kind}s are {', '.join(known)}")


def parse_positive(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise UserError(f"environment: got {name}={value!r}; expected a whole number of at least {least}")
    return int(value)


def parse_mask(mask: Any, num_envs: int) -> np.ndarray:
    """Which environments to reset, bool (E,); None means all."""
    if mask is None:
        return np.ones(num_envs, bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != (num_envs,) or not mask.any():
        raise UserError(f"reset: option 'reset_mask': got {mask!r}; expected a bool array ({num_envs},), not all False")
    return mask


def parse_seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> Sequence[int | None]:
    """One seed for each environment: s, s + 1, … if one is given."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(num_envs)]
    seeds = list(seed) if isinstance(seed, Sequence | np.ndarray) else [seed]
    if len(seeds) != num_envs or not all(each is None or isinstance(each, int | np.integer) for each in seeds):
        raise UserError(f"reset: got seed {seed!r}; expected a whole number, or {num_envs} (one each)")
    return [None if each is None else int(each) for each in seeds]


def parse_states(name: str, states: Any, shape: tuple[int, ...]) -> np.ndarray:
    """States float32 of `shape` (E, P)."""
    try:
        found = np.asarray(states, np.float32)
    except (TypeError, ValueError):
        found = np.zeros(0, np.float32)
    if found.shape != shape:
        count, numbers = shape
        expected = f"{count} positions (x, y)" if numbers == 2 else f"{count} states of {numbers} numbers"
        raise UserError(f"reset: option '{name}': got {states!r}; expected {expected}")
    return found


def check_points(name: str, points: np.ndarray, world: Geometry, mask: np.ndarray) -> None:
    """Raise unless discs at `points` (E, 2) are free wherever `mask` (E,) is set."""
    deep = ~(overlap(world, points) <= TOLERANCE) & mask
    if deep.any():
        i = int(np.flatnonzero(deep)[0])
        margin = BORDER + world.radius[i]
        wall = world.half[i] + world.radius[i]
        raise UserError(
            f"reset: option '{name}' of environment {i}: got {points[i].tolist()}, in a wall or outside; expected x "
            f"and y in [{margin:.3f}, {1 - margin:.3f}], and x not in ({0.5 - wall:.3f}, {0.5 + wall:.3f}) except in a "
            "door"
        )
