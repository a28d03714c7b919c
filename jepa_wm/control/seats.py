"""Episodes that follow each other in fewer environments than there are episodes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jepa_wm.control.goals import GoalSet


class Turns(NamedTuple):
    """How episodes follow each other in an environment.

    Attributes:
        every: steps between moments at which an episode can begin. At a controller's cycle all plans stay due at once,
            so that they are one batch; an environment stands still for less than that in between.
        begin: is told which environments begin another episode, bool (W,), and the goals that all are at now, (W,).
    """

    every: int
    begin: Callable[[np.ndarray, GoalSet], None]


class Seats:
    """Which episode is played in each of W environments: where one is over, the next that waits begins.

    Attributes:
        episode: its number, (W,).
        step: steps of it that are done, (W,).
        active: whether it is not over, (W,).

    Args:
        episodes: how many there are.
        environments: W.
    """

    def __init__(self, episodes: int, environments: int) -> None:
        self.episode = np.arange(environments)
        self.step = np.zeros(environments, dtype=int)
        self.active = np.ones(environments, dtype=bool)
        self._waiting = range(environments, episodes)

    def fill(self, every: int) -> np.ndarray:
        """Begin waiting episodes if those that go on are at a multiple of `every` steps; where, bool (W,)."""
        begun = np.zeros_like(self.active)
        if not (self.step[self.active] % every).any():
            free = np.flatnonzero(~self.active)[: len(self._waiting)]
            begun[free] = True
            self.episode[free], self._waiting = self._waiting[: len(free)], self._waiting[len(free) :]
            self.step[free] = 0
            self.active = self.active | begun
        return begun
