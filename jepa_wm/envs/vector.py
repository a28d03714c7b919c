"""Two rooms, many at once: every environment is stepped and painted in the same few array operations."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from jepa_wm.envs import geometry as plane
from jepa_wm.envs.factors import FACTORS, default_values, draw, parse_settings
from jepa_wm.envs.options import parse_mask, parse_points, parse_positive, parse_seeds, refuse_unknown
from jepa_wm.envs.render import backgrounds, paint_discs
from jepa_wm.errors import UserError

Observation = dict[str, np.ndarray]


class TwoRoomsVectorEnv(gymnasium.vector.VectorEnv):
    """A disc in two rooms joined by doors, E times.

    The world is the unit square, x to the right and y down; the state is the disc's centre. An action in
    [-1, 1]^2 displaces it by `action * agent_speed`; at walls it slides. An episode is a success, and is
    terminated with reward 1, once the disc is closer to its goal than 16/224 of the side (see
    `geometry.success` for the sources).

    An environment behaves the same alone or in a batch: environment i of a batch seeded with s is the
    single environment seeded with s + i.

    `reset(seed, options)` takes, all optional: `state` and `goal`, float (E, 2); `factors`, settings for
    this episode by name, one for all or a list of E; `reset_mask`, bool (E,), the environments to reset.
    Without them the start is anywhere free, and the goal anywhere in the other room.

    `info` holds arrays: goal (E, 2), goal_pixels uint8 (E, 3, size, size), distance (E,), and factors, a
    dictionary of (E,) or (E, 3). Until the next reset goal_pixels and factors are the same arrays: do not
    write into them.

    Args:
        num_envs: E.
        size: pixels a side.
        max_steps: an episode is truncated after so many steps.
        factors: settings by name (see `factors.FACTORS`): a value, "default", "sample" or "held_out".
        autoreset_mode: as in gymnasium; with `DISABLED` a finished environment simply goes on.

    Raises:
        UserError: for unknown names, values that are not allowed, and positions that are not free.
    """

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
        self.single_observation_space = spaces.Dict(
            pixels=spaces.Box(0, 255, (3, size, size), np.uint8), state=spaces.Box(0, 1, (2,), np.float32)
        )
        self.single_action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._settings = parse_settings(factors, num_envs)
        self._random = [np_random()[0] for _ in range(num_envs)]
        self.factor_values = default_values(num_envs)
        self.state = np.zeros((num_envs, 2), np.float32)
        self.goal = np.zeros((num_envs, 2), np.float32)
        self._world = plane.geometry(self.factor_values)
        self._rooms = np.zeros((num_envs, 3, size, size), np.uint8)
        self._goal_pixels = self._rooms
        self._steps = np.zeros(num_envs, np.int64)
        self._finished = np.zeros(num_envs, bool)
        self._ready = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin new episodes; see the class for `options`."""
        options = dict(options or {})
        refuse_unknown("option", options, ("state", "goal", "factors", "reset_mask"))
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
        """Displace every disc: actions (E, 2), clipped to [-1, 1]."""
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape or not np.isfinite(actions).all():
            raise UserError(f"step: got actions {actions!r}; expected finite numbers {self.action_space.shape}")
        if not self._ready:
            raise UserError("step: the environment has not been reset; call reset() first")
        # In NEXT_STEP mode an environment that finished takes this step to begin anew.
        begin = self._finished & (self.autoreset_mode is AutoresetMode.NEXT_STEP)
        displacement = np.clip(actions, -1, 1) * self.factor_values["agent_speed"][:, None]
        self.state = plane.move(self._world, self.state, displacement).astype(np.float32)
        self._steps = self._steps + 1
        if begin.any():
            self._restart(begin, {})
        terminated = plane.success(self.state, self.goal)
        truncated = self._steps >= self.max_steps
        self._finished = terminated | truncated
        observation, info = self._observe()
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._finished.any():
            last = {"final_obs": observation, "final_info": info, "_final_obs": self._finished}
            self._restart(self._finished, {})
            observation, info = self._observe()
            info |= last | {"_final_info": last["_final_obs"]}
        return observation, terminated.astype(np.float64), terminated, truncated, info

    def render_states(self, states: np.ndarray) -> np.ndarray:
        """Each environment's picture with its disc at `states` (E, 2): uint8 (E, 3, size, size)."""
        values = self.factor_values
        return paint_discs(self._rooms, np.asarray(states), values["agent_size"], values["agent_color"])

    def _observe(self) -> tuple[Observation, dict[str, Any]]:
        info = {
            "goal": self.goal.copy(),
            "goal_pixels": self._goal_pixels,
            "factors": self.factor_values,
            "distance": plane.distance(self.state, self.goal),
        }
        return {"pixels": self.render_states(self.state), "state": self.state.copy()}, info

    def _restart(self, mask: np.ndarray, options: Mapping[str, Any]) -> None:
        """Begin anew where `mask` says. All of it is computed before anything changes, and what was
        handed out stays as it was; an error leaves the running episodes alone."""
        rows = np.flatnonzero(mask)
        chosen = parse_settings(options.get("factors"), self.num_envs)
        values = {name: value.copy() for name, value in self.factor_values.items()}
        for i in rows:
            settings = self._settings[i] | chosen[i]
            for name, factor in FACTORS.items():
                values[name][i] = draw(factor, settings.get(name, factor.parse(name, factor.default)), self._random[i])
        world = plane.geometry(values)
        state, goal = (parse_points(name, options.get(name), world, mask) for name in ("state", "goal"))
        for i in rows:
            one = world.take(np.array([i]))
            if "state" not in options:
                state[i] = sample_start(one, self._random[i])
            if "goal" not in options:
                goal[i] = sample_goal(one, state[i], self._random[i])
        fresh = mask[:, None]
        self.factor_values, self._world = values, world
        self.state, self.goal = np.where(fresh, state, self.state), np.where(fresh, goal, self.goal)
        self._rooms[rows] = backgrounds({name: value[rows] for name, value in values.items()}, self.size)
        self._goal_pixels = self.render_states(self.goal)
        self._steps = np.where(mask, 0, self._steps)
        self._finished = self._finished & ~mask


def sample_start(world: plane.Geometry, random: np.random.Generator) -> np.ndarray:
    """A free position of the disc in one world, uniform, doorways included: float32 (2,)."""
    margin = plane.BORDER + world.radius[0]
    while True:
        point = random.uniform(margin, 1 - margin, 2).astype(np.float32)
        if plane.overlap(world, point[None])[0] <= 0:
            return point


def sample_goal(world: plane.Geometry, start: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A position in the room that `start` (2,) is not in, uniform, and not already reached: float32 (2,)."""
    margin = plane.BORDER + world.radius[0]
    beyond = 0.5 + world.half[0] + world.radius[0]
    while True:
        point = random.uniform((beyond, margin), (1 - margin, 1 - margin)).astype(np.float32)
        if start[0] >= 0.5:
            point[0] = 1 - point[0]
        if plane.overlap(world, point[None])[0] <= 0 and not plane.success(point[None], start[None])[0]:
            return point
