"""Goals of Push-T: what an episode came to when it was recorded, or places drawn at random."""

from typing import Self

import numpy as np

from jepa_wm.control.goals import DRAWN, GoalSet, Task
from jepa_wm.control.recorded_goals import RecordedGoals
from jepa_wm.envs import PUSH_T
from jepa_wm.envs.policies import NoOp, Policy, Uniform
from jepa_wm.envs.push_t import PushTVectorEnv
from jepa_wm.envs.push_t_policy import Pusher
from jepa_wm.envs.tee import measure
from jepa_wm.manifest import read_manifest


class RecordedPushT(RecordedGoals):
    """Where pusher and block were a while later."""

    environment = PUSH_T

    def reached(self, states: np.ndarray) -> np.ndarray:
        return measure(states, self.goal)["success"]

    def _random(self, seed: int) -> Policy:
        return Uniform(seed)


class DrawnPushT(GoalSet):
    """Pusher and block anywhere, at the start and at the goal; it may take hundreds of steps to get there."""

    environment = PUSH_T

    @classmethod
    def draw(cls, data: str, episodes: int, seed: int, task: Task = DRAWN) -> Self:
        factors = read_manifest(data, "collect")["config"]["factors"] or {}
        world = PushTVectorEnv(2 * episodes + 8, size=8, factors=factors)
        world.reset(seed=seed)
        drawn = cls(world.state.copy(), world.goal.copy(), dict(world.factor_values), 0)
        return drawn.open(episodes, task.factors, seed)

    def reached(self, states: np.ndarray) -> np.ndarray:
        return measure(states, self.goal)["success"]

    def policies(self, seed: int) -> dict[str, Policy]:
        return {"noop": NoOp(), "random": Uniform(seed), "expert": Pusher(0.0, seed)}


KINDS = (RecordedPushT, DrawnPushT)
