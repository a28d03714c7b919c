"""Play a goal set with a policy, and count."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from tqdm import tqdm

from jepa_wm.control.goals import GoalSet
from jepa_wm.envs.world import VectorWorld
from jepa_wm.statistics import wilson

Act = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Pixels (E, C, H, W), which environments are unsolved (E,), and states (E, P) -> actions (E, A)."""


class Outcome(NamedTuple):
    """What happened in E episodes.

    `states` (E, T+1, P); `reached` (E, T), whether the goal was met after each step; `frames` of the
    first episodes, uint8 (F, T+1, C, H, W).
    """

    states: np.ndarray
    reached: np.ndarray
    frames: np.ndarray

    @property
    def ever(self) -> np.ndarray:
        """Whether the goal was met at any step, (E,)."""
        return np.any(self.reached, axis=1)

    @property
    def last(self) -> np.ndarray:
        """Whether it was met at the last step, (E,)."""
        return self.reached[:, -1]

    def solved(self, ends: bool) -> np.ndarray:
        """Whether the goal counts as met, (E,): at any step where that ends the episode, else at the last one."""
        return self.ever if ends else self.last

    def row(self, solved: np.ndarray) -> dict[str, Any]:
        """Success rate over `solved` (E,), with its Wilson interval."""
        count, episodes = int(solved.sum()), len(solved)
        return {
            "success": count / episodes,
            "success_last": float(self.last.mean()),
            "ci95": list(wilson(count, episodes)),
            "episodes": episodes,
        }


def make_world(goals: GoalSet, size: int) -> VectorWorld:
    """The environments of a goal set; a solved one plays on."""
    world = gymnasium.make_vec(
        goals.environment,
        num_envs=len(goals.state),
        vectorization_mode="vector_entry_point",
        size=size,
        max_steps=10**9,
        autoreset_mode=AutoresetMode.DISABLED,
    ).unwrapped
    assert isinstance(world, VectorWorld)
    world.reset(seed=0, options=goals.reset_options())
    return world


def play(world: VectorWorld, goals: GoalSet, act: Act, steps: int, stop: bool, label: str, films: int = 0) -> Outcome:
    """Play `steps` steps from the starts of a goal set.

    Args:
        world: the environments, as `make_world` gives them; they are reset first.
        goals: the goal set.
        act: the policy.
        steps: the budget T.
        stop: an episode ends when its goal is met; else it plays on to the budget.
        label: name of the progress bar.
        films: episodes whose frames are kept.
    """
    observation, _ = world.reset(seed=0, options=goals.reset_options())
    states, frames, reached = [world.state.copy()], [observation["pixels"][:films].copy()], []
    solved = np.zeros(len(goals.state), dtype=bool)
    for _ in tqdm(range(steps), desc=label, leave=False):
        active = ~solved if stop else np.ones_like(solved)
        if active.any():
            actions = act(observation["pixels"], active, observation["state"]) * active[:, None]
            observation, *_ = world.step(actions.astype(np.float32))
        states.append(world.state.copy())
        frames.append(observation["pixels"][:films].copy())
        met = goals.reached(world.state)
        # What is over stays as it ended, even where the world moves on by itself.
        reached.append(met | solved if stop else met)
        solved |= reached[-1]
    return Outcome(np.stack(states, axis=1), np.stack(reached, axis=1), np.stack(frames, axis=1))
