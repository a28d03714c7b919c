"""What every world here has in common: factors, options, seeds, automatic resets."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from jepa_wm.envs.factors import Factor, default_values, draw, parse_settings
from jepa_wm.envs.options import parse_mask, parse_positive, parse_seeds, parse_states, refuse_unknown
from jepa_wm.envs.state_env import StateVectorEnv
from jepa_wm.errors import UserError

Observation = dict[str, np.ndarray]
Values = Mapping[str, np.ndarray]


class VectorWorld(StateVectorEnv, ABC):
    """A world, E times: a child says what is in it, how it moves and what it looks like.

    An environment behaves the same alone or in a batch: environment i of a batch seeded with s is the
    single environment seeded with s + i. An episode is a success, and is terminated with reward 1, once
    `measure` says so.

    `reset(seed, options)` takes, all optional: `state` and `goal`, float (E, P); `factors`, settings for
    this episode by name, one for all or a list of E; `reset_mask`, bool (E,), the environments to reset.

    `info` holds arrays: goal (E, P), goal_pixels uint8 (E, 3, size, size), what `measure` gives, and factors,
    a dictionary of (E,) or (E, 3). Until the next reset goal_pixels and factors are the same arrays: do not
    write into them.

    Attributes:
        table: the world's factors of variation, by name.
        single_state_space: of one state (P,).

    Args:
        num_envs: E.
        size: pixels a side.
        max_steps: an episode is truncated after so many steps.
        factors: settings by name (see `table`): a value, "default", "sample" or "held_out".
        autoreset_mode: as in gymnasium; with `DISABLED` a finished environment simply goes on.

    Raises:
        UserError: for unknown names, values that are not allowed, and states that cannot be.
    """

    table: ClassVar[Mapping[str, Factor]]
    single_state_space: ClassVar[spaces.Box]
    single_action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(
        self,
        num_envs: int = 1,
        size: int = 64,
        max_steps: int = 100,
        factors: Mapping[str, Any] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        self.num_envs = parse_positive("num_envs", num_envs)
        self.size = parse_positive("size", size, least=8)
        self.max_steps = parse_positive("max_steps", max_steps)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        pixels = spaces.Box(0, 255, (3, size, size), np.uint8)
        self.single_observation_space = spaces.Dict(pixels=pixels, state=self.single_state_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._settings = parse_settings(self.table, factors, num_envs)
        self._random = [np_random()[0] for _ in range(num_envs)]
        self.factor_values = default_values(self.table, num_envs)
        self.state = np.zeros((num_envs, *self.single_state_space.shape), np.float32)
        self.goal = self.state
        self._grounds = np.zeros((num_envs, 3, size, size), np.uint8)
        self._goal_pixels = self._seen = self._grounds
        self._steps = np.zeros(num_envs, np.int64)
        self._finished = np.zeros(num_envs, bool)
        self._ready = False

    @abstractmethod
    def measure(self, states: np.ndarray, goals: np.ndarray) -> dict[str, np.ndarray]:
        """How far states are from goals (E, P): arrays (E,), at least `distance` and `success`."""

    @abstractmethod
    def draw_start(self, values: Values, random: np.random.Generator) -> np.ndarray:
        """A state of a world with factor values (1,): float32 (P,)."""

    @abstractmethod
    def draw_goal(self, values: Values, start: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A goal for such a world that `start` (P,) does not meet: float32 (P,)."""

    @abstractmethod
    def _move(self, actions: np.ndarray) -> np.ndarray:
        """The states (E, P) after actions (E, 2) in [-1, 1]."""

    @abstractmethod
    def _check(self, name: str, states: np.ndarray, values: Values, mask: np.ndarray) -> None:
        """Raise `UserError` unless states (E, P) can be, wherever `mask` (E,) is set."""

    @abstractmethod
    def _paint(self, values: Values) -> np.ndarray:
        """What is behind all that moves: uint8 (E, 3, size, size)."""

    def values_of(self, number: int) -> dict[str, np.ndarray]:
        """The factor values of one environment, arrays (1,) or (1, 3)."""
        return _rows(self.factor_values, slice(number, number + 1))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin new episodes; see `VectorWorld` for `options`."""
        options = dict(options or {})
        refuse_unknown("option", options, ("state", "goal", "factors", "reset_mask"))
        options = {name: value for name, value in options.items() if value is not None}
        mask = parse_mask(options.get("reset_mask"), self.num_envs)
        if not (self._ready or mask.all()):
            raise UserError("reset: option 'reset_mask' leaves environments out; the first reset must be of all")
        for i, value in enumerate(parse_seeds(seed, self.num_envs)):
            if value is not None and mask[i]:
                self._random[i] = np_random(value)[0]
        self._restart(mask, options)
        self._ready = True
        return self._observe()

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act in every environment: actions (E, 2), clipped to [-1, 1]."""
        actions = np.asarray(actions)
        numbers = actions.dtype.kind in "iuf" and actions.shape == self.action_space.shape
        if not numbers or not np.isfinite(actions).all():
            raise UserError(f"step: got actions {actions!r}; expected finite numbers {self.action_space.shape}")
        if not self._ready:
            raise UserError("step: the environment has not been reset; call reset() first")
        # In NEXT_STEP mode an environment that finished takes this step to begin anew.
        begin = self._finished & (self.autoreset_mode is AutoresetMode.NEXT_STEP)
        self.state = self._move(np.clip(actions, -1, 1)).astype(np.float32)
        self._steps = self._steps + 1
        if begin.any():
            self._restart(begin, {})
        observation, info = self._observe()
        terminated = info["success"]
        truncated = self._steps >= self.max_steps
        self._finished = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._finished.any():
            last = {"final_obs": observation, "final_info": info, "_final_obs": self._finished}
            self._restart(self._finished, {})
            observation, info = self._observe()
            info |= last | {"_final_info": last["_final_obs"]}
        return observation, terminated.astype(np.float64), terminated, truncated, info

    def _observe(self) -> tuple[Observation, dict[str, Any]]:
        info = {
            "goal": self.goal.copy(),
            "goal_pixels": self._goal_pixels,
            "factors": self.factor_values,
            **self.measure(self.state, self.goal),
        }
        self._seen = self.render_states(self.state)
        return {"pixels": self._seen, "state": self.state.copy()}, info

    def look(self, where: np.ndarray) -> np.ndarray:
        return self._seen[where]

    def _restart(self, mask: np.ndarray, options: Mapping[str, Any]) -> None:
        """Begin anew where `mask` says. All of it is computed before anything changes, and what was
        handed out stays as it was; an error leaves the running episodes alone."""
        rows = np.flatnonzero(mask)
        chosen = parse_settings(self.table, options.get("factors"), self.num_envs)
        values = {name: value.copy() for name, value in self.factor_values.items()}
        for i in rows:
            settings = self._settings[i] | chosen[i]
            for name, factor in self.table.items():
                values[name][i] = draw(factor, settings.get(name, factor.parse(name, factor.default)), self._random[i])
        state, goal = (self._parse(name, options.get(name), values, mask) for name in ("state", "goal"))
        for i in rows:
            own = _rows(values, slice(i, i + 1))
            if "state" not in options:
                state[i] = self.draw_start(own, self._random[i])
            if "goal" not in options:
                goal[i] = self.draw_goal(own, state[i], self._random[i])
        fresh = mask[:, None]
        self.factor_values = values
        self.state, self.goal = np.where(fresh, state, self.state), np.where(fresh, goal, self.goal)
        self._grounds[rows] = self._paint(_rows(values, rows))
        self._goal_pixels = self.render_states(self.goal)
        self._steps = np.where(mask, 0, self._steps)
        self._finished = self._finished & ~mask

    def _parse(self, name: str, states: Any, values: Values, mask: np.ndarray) -> np.ndarray:
        """States from the user, checked; None gives zeros to fill in."""
        if states is None:
            return np.zeros_like(self.state)
        found = parse_states(name, states, self.state.shape)
        self._check(name, found, values, mask)
        return found


def _rows(values: Values, rows: Any) -> dict[str, np.ndarray]:
    return {name: value[rows] for name, value in values.items()}
