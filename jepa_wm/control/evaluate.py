"""Play a goal set with a policy, and count."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from tqdm import tqdm

from jepa_wm.control.goals import GoalSet
from jepa_wm.control.restored_world import RestoredWorld
from jepa_wm.control.seats import Seats, Turns
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
    (F, T+1, C, H, W). Where an episode is over before, it stays as it ended.
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


class Record:
    """What is kept while E episodes are played; where one is over, all stays as it ended.

    Args:
        episodes: E.
        steps: the budget T.
        films: episodes whose frames are kept.
        world: where they are played, for the shapes of what is kept.
    """

    def __init__(self, episodes: int, steps: int, films: int, world: StateVectorEnv) -> None:
        pixels = world.look(np.zeros(world.num_envs, dtype=bool))
        self.states = np.zeros((episodes, steps + 1, *world.state.shape[1:]), world.state.dtype)
        self.frames = np.zeros((min(films, episodes), steps + 1, *pixels.shape[1:]), pixels.dtype)
        self.reached = np.zeros((episodes, steps + 1), dtype=bool)
        self.seconds = np.zeros(episodes)
        self.lasted = np.zeros(episodes, dtype=int)

    def add(self, seats: Seats, where: np.ndarray, world: StateVectorEnv, met: np.ndarray | None = None) -> None:
        """Keep what is seen in some environments, bool (W,), and whether goals are met there, (W,)."""
        episode, step = seats.episode[where], seats.step[where]
        self.lasted[episode] = step
        self.states[episode, step] = world.state[where]
        self.reached[episode, step] = False if met is None else met[where]
        filmed = where & (seats.episode < len(self.frames))
        self.frames[seats.episode[filmed], seats.step[filmed]] = world.look(filmed)

    def outcome(self) -> Outcome:
        """What happened."""
        rows = np.arange(len(self.states))[:, None]
        held = np.minimum(np.arange(self.states.shape[1]), self.lasted[:, None])
        films = len(self.frames)
        reached, frames = self.reached[rows, held[:, 1:]], self.frames[rows[:films], held[:films]]
        return Outcome(self.states[rows, held], reached, self.seconds, frames)


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
    turns: Turns | None = None,
) -> Outcome:
    """Play at most `steps` steps from each of the starts of a goal set.

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
        turns: how episodes follow each other, where there are fewer environments.
    """
    seats = Seats(len(goals.state), world.num_envs)
    here = goals.take(seats.episode)
    world.reset(seed=0, options=here.reset_options())
    record = Record(len(goals.state), steps, films, world)
    record.add(seats, seats.active, world)
    pixels = np.zeros((world.num_envs, *record.frames.shape[2:]), record.frames.dtype)
    with tqdm(total=len(goals.state) * steps, desc=label, leave=False, disable=None) as bar:
        while seats.active.any():
            active = seats.active
            if looks(active):
                pixels[active] = world.look(active)
            start = time.perf_counter()
            actions = act(pixels, active, world.state.copy()) * active[:, None]
            record.seconds[seats.episode[active]] += (time.perf_counter() - start) / active.sum()
            world.step(actions.astype(np.float32))
            seats.step += active
            last = seats.step == steps
            met = here.reached(world.state) & ((seats.step % check == 0) | last)
            record.add(seats, active, world, met)
            seats.active = active & ~(last | met & stop)
            bar.update(int(active.sum() + (steps - seats.step)[active & ~seats.active].sum()))
            if turns is None or not (begun := seats.fill(turns.every)).any():
                continue
            here = goals.take(seats.episode)
            world.reset(options={**here.reset_options(), "reset_mask": begun})
            record.add(seats, begun, world)
            turns.begin(begun, here)
    return record.outcome()
