"""Play given actions from given states in a world of ours, to see what they lead to."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jepa_wm.control.evaluate import open_world


class Ending(NamedTuple):
    """Where E environments came to: pixels uint8 (E, 3, size, size) and state float32 (E, P)."""

    pixels: np.ndarray
    state: np.ndarray


def play_back(
    environment: str, size: int, state: np.ndarray, factors: Mapping[str, np.ndarray], actions: np.ndarray
) -> Ending:
    """Play actions to their end, past any success.

    Args:
        environment: gymnasium id of a world of ours.
        size: pixels a side.
        state: where to begin, (E, P).
        factors: of each world, arrays (E, ...) by name.
        actions: (E, T, A).

    Raises:
        UserError: if a state cannot be under its factors.
    """
    world = open_world(environment, size, {"state": state, "goal": state, "factors": factors})
    for action in actions.swapaxes(0, 1):
        world.step(action)
    return Ending(world.render_states(world.state), world.state.copy())
