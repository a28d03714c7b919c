"""Goals of any environment that can be put at a recorded state."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from jepa_wm.control.recorded_goals import RecordedGoals
from jepa_wm.control.restored_world import simulator
from jepa_wm.envs.policies import Policy, Uniform
from jepa_wm.errors import UserError


class RestoredGoals(RecordedGoals):
    """What was there a while later; when that is met, the environment says.

    A child names the environment.
    """

    def reached(self, states: np.ndarray) -> np.ndarray:
        return np.asarray(simulator(self.environment).restorable.reached(states, self.goal), bool)

    def open(self, episodes: int, factors: Mapping[str, Any] | None = None, seed: int = 0) -> Self:
        if factors:
            raise UserError(
                f"plan: got task.factors {dict(factors)}; expected none: {self.environment} has none of ours"
            )
        return super().open(episodes, None, seed)

    def _random(self, seed: int) -> Policy:
        space = simulator(self.environment).action_space
        return Uniform(seed, space.low, space.high)


def restored_in(environment: str) -> type[RestoredGoals]:
    """The goals of an environment, by its gymnasium id.

    Raises:
        UserError: if it cannot be put at recorded states.
    """
    simulator(environment)
    return type("RestoredGoals", (RestoredGoals,), {"environment": environment})
