"""Cube of OGBench, as stable-worldmodel has it: an arm, and a cube that is to be where it is in the goal."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium.vector.utils import batch_space

from jepa_wm.interop.state_only import Simulated


class Cube(Simulated):
    """Set to what was recorded, with an expert; arguments as `Simulated`'s."""

    def _simulation(self) -> tuple[Any, Any]:
        return self.get_wrapper_attr("model"), self.get_wrapper_attr("data")

    def _info(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get_wrapper_attr("get_reset_info")()
        return found

    def expert(self, seed: int) -> Callable[[dict[str, Any]], np.ndarray]:
        """Their expert, who brings the cube from one place to another, for one episode: infos to actions (A,)."""
        from stable_worldmodel.envs.ogbench import ExpertPolicy

        policy, step = ExpertPolicy(seed=seed), 0
        # It plays in several at once, each of whose infos is a history.
        policy.set_env(SimpleNamespace(envs=[self], num_envs=1, action_space=batch_space(self.action_space, 1)))

        def act(info: dict[str, Any]) -> np.ndarray:
            nonlocal step
            told = {name: [[value]] for name, value in (info | {"step_idx": step}).items()}
            step += 1
            return np.asarray(policy.get_action(told)[0])

        return act
