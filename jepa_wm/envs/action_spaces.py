"""Which vectors are actions of an environment."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


def fits(space: gymnasium.Space[Any], low: np.ndarray, high: np.ndarray, rounding: float) -> bool:
    """Whether vectors within bounds (A,), which may be off by a part of them, are actions of a space."""
    if isinstance(space, spaces.Box):
        least, most = space.low.ravel(), space.high.ravel()
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        least, most = np.zeros(spaces.flatdim(space)), np.ones(spaces.flatdim(space))
    else:
        return False
    if len(least) != len(low):
        return False
    room = rounding * np.maximum(np.abs(low), np.abs(high)).clip(1)
    return bool((low >= least - room).all() and (high <= most + room).all())
