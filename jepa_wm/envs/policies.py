"""Scripted policies: floors and a ceiling for learned ones, and the behaviour that data is collected with.

Each is called as `policy(state, goal, factors) -> actions`: state and goal float (E, 2), factors a
dictionary of arrays (E,) or (E, 3), actions float32 (E, 2) in [-1, 1]. The same seed gives the same actions.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from jepa_wm.envs.geometry import Geometry, gaps, geometry, path_lengths

Factors = Mapping[str, np.ndarray]

_CLEARANCE = 0.005


class Policy(Protocol):
    """States and goals to actions."""

    def __call__(self, state: np.ndarray, goal: np.ndarray, factors: Factors) -> np.ndarray: ...


class NoOp:
    """Stay.

    Args:
        width: A numbers that make an action.
    """

    def __init__(self, width: int = 2) -> None:
        self.width = width

    def __call__(self, state: np.ndarray, goal: np.ndarray, factors: Factors) -> np.ndarray:
        return np.zeros((len(state), self.width), np.float32)


class Uniform:
    """An independent uniform action at each step.

    Args:
        seed: of the random stream.
        low: bounds of an action (A,).
        high: the same, above.
    """

    def __init__(self, seed: int = 0, low: ArrayLike = (-1, -1), high: ArrayLike = (1, 1)) -> None:
        self.seed, self.low, self.high = seed, np.asarray(low), np.asarray(high)
        self._random = np.random.default_rng(seed)

    def __call__(self, state: np.ndarray, goal: np.ndarray, factors: Factors) -> np.ndarray:
        return self._random.uniform(self.low, self.high, (len(state), len(self.low))).astype(np.float32)


class Replay:
    """Actions that were recorded, then none.

    Args:
        actions: (E, T, A).
    """

    def __init__(self, actions: np.ndarray) -> None:
        self.actions = actions
        self._step = 0

    def __call__(self, state: np.ndarray, goal: np.ndarray, factors: Factors) -> np.ndarray:
        self._step += 1
        if self._step > self.actions.shape[1]:
            return np.zeros_like(self.actions[:, 0])
        return self.actions[:, self._step - 1]


class Walk:
    """A policy that chooses at random, and holds its choice for a random number of steps.

    Args:
        num_envs: E.
        seed: of the random stream.
    """

    def __init__(self, num_envs: int, seed: int = 0) -> None:
        self.num_envs = num_envs
        self.seed = seed
        self._random = np.random.default_rng(seed)
        self._left = np.zeros(num_envs, np.int64)
        self._choice = np.zeros((num_envs, 2))

    def _held(self, choice: np.ndarray, least: int, most: int) -> np.ndarray:
        """The choices (E, 2) that hold now: this one, for `least` to `most` steps, where the last has run out."""
        steps = self._random.integers(least, most + 1, self.num_envs)
        over = self._left == 0
        self._choice = np.where(over[:, None], choice, self._choice)
        self._left = np.where(over, steps, self._left) - 1
        return self._choice


class RandomWalk(Walk):
    """A random direction and speed, held for 2 to 16 steps: it sees both rooms, and the door between them."""

    def __call__(self, state: np.ndarray, goal: np.ndarray, factors: Factors) -> np.ndarray:
        angle = self._random.uniform(0, 2 * np.pi, self.num_envs)
        speed = self._random.uniform(0.5, 1.0, self.num_envs)
        direction = np.stack([np.cos(angle), np.sin(angle)], -1)
        # The full square of actions is used, not only the circle in it.
        direction *= (speed / np.abs(direction).max(-1))[:, None]
        return self._held(direction, 2, 16).astype(np.float32)


class NoisyExpert:
    """Straight to the goal, through the door of the shortest way if a wall is between; it lands exactly.

    Args:
        noise: standard deviation of Gaussian noise on the action; 0 reaches every goal of every world.
        seed: of the random stream.
    """

    def __init__(self, noise: float = 0.0, seed: int = 0) -> None:
        self.noise = noise
        self.seed = seed
        self._random = np.random.default_rng(seed)

    def __call__(self, state: np.ndarray, goal: np.ndarray, factors: Factors) -> np.ndarray:
        state = np.asarray(state, np.float64)
        goal = np.asarray(goal, np.float64)
        aim = _waypoint(geometry(factors), state, goal)
        action = (aim - state) / factors["agent_speed"][:, None]
        action /= np.maximum(np.abs(action).max(-1, keepdims=True), 1)
        action += self.noise * self._random.standard_normal(action.shape)
        return np.clip(action, -1, 1).astype(np.float32)


def _waypoint(world: Geometry, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The next point (E, 2) to go to in a straight line on the way to the goal.

    A room, and the channel of a door as wide as the wall and the disc, are convex: within one the way is
    straight. Else it leads to the mouth of a channel: into it from a room, out of it towards the goal.
    """
    reach = world.half + world.radius
    rows = np.arange(len(state))
    side, goal_side = np.where(state[:, 0] < 0.5, -1, 1), np.where(goal[:, 0] < 0.5, -1, 1)
    inside = np.abs(state[:, 0] - 0.5) < reach - 1e-4
    goal_inside = np.abs(goal[:, 0] - 0.5) < reach - 1e-4
    own, goal_own = _door_at(world, state), _door_at(world, goal)
    shortest = path_lengths(world, state, goal).argmin(-1)
    door = np.where(inside, own, np.where(goal_inside, goal_own, shortest))
    low, high = gaps(world)[rows, door].T
    direct = np.where(inside, goal_inside & (own == goal_own), ~goal_inside & (side == goal_side))
    # In line with the gap, the way through is free: on to the goal in the channel, or out of its far mouth.
    aligned = (state[:, 1] >= low) & (state[:, 1] <= high)
    exit_side = np.where(goal_inside, side, goal_side)
    through = inside | aligned
    mouth_x = 0.5 + np.where(through, exit_side, side) * (reach + _CLEARANCE)
    share = (mouth_x - state[:, 0]) / np.where(np.abs(goal[:, 0] - state[:, 0]) < 1e-6, 1e-6, goal[:, 0] - state[:, 0])
    spare = np.minimum(_CLEARANCE, (high - low) / 4)
    mouth_y = np.clip(state[:, 1] + np.clip(share, 0, 1) * (goal[:, 1] - state[:, 1]), low + spare, high - spare)
    mouth = np.stack([mouth_x, mouth_y], -1)
    enter = goal_inside & ~inside & aligned
    return np.where((direct | enter)[:, None], goal, mouth)


def _door_at(world: Geometry, points: np.ndarray) -> np.ndarray:
    """The door (E,) whose middle is nearest in height; a missing door has its middle on the border."""
    return np.abs(world.doors.mean(-1) - points[:, 1:]).argmin(-1)
