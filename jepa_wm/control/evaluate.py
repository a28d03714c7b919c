"""Play a goal set with a policy, and count."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from tqdm import tqdm

from jepa_wm.control.goals import GoalSet
from jepa_wm.control.restored_world import RestoredWorld
from jepa_wm.envs import OURS
from jepa_wm.envs.state_env import StateVectorEnv

Act = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Pixels (E, C, H, W), which environments are unsolved (E,), and states (E, P) -> actions (E, A)."""

Looks = Callable[[np.ndarray], bool]
"""Which environments are unsolved (E,) -> whether the policy is about to look at pixels; else those are old ones."""


class Outcome(NamedTuple):
    """What happened in E episodes.

    `states` (E, T+1, P); `reached` (E, T), whether the goal was seen to be met after each step; `seconds` (E,), the
    time that the policy took, what it took for several at once in equal parts; `frames` of the first episodes, uint8
    (F, T+1, C, H, W).
    """

    states: np.ndarray
    reached: np.ndarray
    seconds: np.ndarray
    frames: np.ndarray

    @property
    def ever(self) -> np.ndarray:
        """Whether the goal was met at any step, (E,)."""
        return np.any(self.reached, axis=1)

    @property
    def last(self) -> np.ndarray:
        """Whether it was met at the last step, (E,)."""
        return self.reached[:, -1]

    @property
    def first(self) -> np.ndarray:
        """The step, from 1, at which it was first met, (E,); 0 where it never was."""
        return np.where(self.ever, self.reached.argmax(axis=1) + 1, 0)

    def solved(self, ends: bool) -> np.ndarray:
        """Whether the goal counts as met, (E,): at any step where that ends the episode, else at the last one."""
        return self.ever if ends else self.last


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """What happened in the episodes of several, one after the other."""
    return Outcome(*(np.concatenate(parts) for parts in zip(*outcomes, strict=True)))


def make_world(goals: GoalSet, size: int) -> StateVectorEnv:
    """The environments of a goal set; a solved one plays on."""
    return open_world(goals.environment, size, goals.reset_options())


def open_world(environment: str, size: int, options: dict[str, Any]) -> StateVectorEnv:
    """One environment for each of the states in `options`, reset with them; a solved one plays on.

    Raises:
        UserError: if a state cannot be under its factors, or the environment cannot be put at states.
    """
    world = _made(environment, size, len(options["state"]))
    world.reset(seed=0, options=options)
    return world


def _made(environment: str, size: int, count: int) -> StateVectorEnv:
    if environment not in OURS:
        return RestoredWorld(environment, size, count)
    world = gymnasium.make_vec(
        environment,
        num_envs=count,
        vectorization_mode="vector_entry_point",
        size=size,
        max_steps=10**9,
        autoreset_mode=AutoresetMode.DISABLED,
    ).unwrapped
    assert isinstance(world, StateVectorEnv)
    return world


def play(
    world: StateVectorEnv,
    goals: GoalSet,
    act: Act,
    steps: int,
    stop: bool,
    label: str,
    films: int = 0,
    check: int = 1,
    looks: Looks = np.any,
) -> Outcome:
    """Play `steps` steps from the starts of a goal set.

    Args:
        world: the environments, as `make_world` gives them; they are reset first.
        goals: the goal set.
        act: the policy.
        steps: the budget T.
        stop: an episode ends when its goal is met; else it plays on to the budget.
        label: name of the progress bar.
        films: episodes whose frames are kept.
        check: steps from one look at whether goals are met to the next; the last step is always looked at.
        looks: when the policy looks at pixels, which some worlds draw only then.
    """
    world.reset(seed=0, options=goals.reset_options())
    states, frames, reached = [world.state.copy()], [world.look(films)], []
    pixels = np.zeros((len(goals.state), *frames[0].shape[1:]), np.uint8)
    solved, seconds = np.zeros(len(goals.state), dtype=bool), np.zeros(len(goals.state))
    for step in tqdm(range(1, steps + 1), desc=label, leave=False, disable=None):
        active = ~solved if stop else np.ones_like(solved)
        if active.any():
            pixels = world.look(len(goals.state)) if looks(active) else pixels
            start = time.perf_counter()
            actions = act(pixels, active, world.state.copy()) * active[:, None]
            seconds += active * (time.perf_counter() - start) / active.sum()
            world.step(actions.astype(np.float32))
        states.append(world.state.copy())
        frames.append(world.look(films))
        met = goals.reached(world.state) & (step % check == 0 or step == steps)
        # What is over stays as it ended, even where the world moves on by itself.
        reached.append(met | solved if stop else met)
        solved |= reached[-1]
    return Outcome(np.stack(states, axis=1), np.stack(reached, axis=1), seconds, np.stack(frames, axis=1))
