"""One world alone: the vector form with a single environment, through gymnasium's single interface."""

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from jepa_wm.envs.options import refuse_unknown
from jepa_wm.envs.world import Observation, VectorWorld
from jepa_wm.errors import UserError


class World(gymnasium.Env[Observation, np.ndarray], ABC):
    """One world; what is in it, its factors and success are its vector form's.

    `reset(seed, options)` takes, all optional: `state` and `goal`, states (P,), and `factors`, settings
    for this episode by name. `info` holds goal (P,), goal_pixels uint8 (3, size, size), what `measure` gives, as
    numbers, and factors, a dictionary of numbers and [red, green, blue] lists.

    Attributes:
        vector: the class of the vector form.

    Args:
        size: pixels a side.
        max_steps: an episode is truncated after so many steps.
        factors: settings by name: a value, "default", "sample" or "held_out".
        render_mode: "rgb_array" lets `render()` return the picture as uint8 (size, size, 3).

    Raises:
        UserError: for unknown names, values that are not allowed, and states that cannot be.
    """

    vector: ClassVar[type[VectorWorld]]
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  (gymnasium declares it so)

    def __init__(
        self,
        size: int = 64,
        max_steps: int = 100,
        factors: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"environment: got render_mode={render_mode!r}; expected None or 'rgb_array'")
        self.render_mode = render_mode
        self._vector = self.vector(1, size, max_steps, factors, AutoresetMode.DISABLED)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new episode; see `World` for `options`."""
        super().reset(seed=seed)
        options = dict(options or {})
        refuse_unknown("option", options, ("state", "goal", "factors"))
        for name in ("state", "goal"):
            if options.get(name) is not None:
                options[name] = [options[name]]
        observation, info = self._vector.reset(seed=seed, options=options)
        return _first(observation), _first_info(info)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act: action (2,), clipped to [-1, 1]."""
        observation, reward, terminated, truncated, info = self._vector.step(np.asarray(action)[None])
        return _first(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first_info(info)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The picture as uint8 (size, size, 3), or None without a render mode."""
        if self.render_mode is None:
            return None
        return self._vector.render_states(self._vector.state)[0].transpose(1, 2, 0)


def _first(batch: Mapping[str, np.ndarray]) -> Observation:
    return {name: value[0] for name, value in batch.items()}


def _first_info(info: Mapping[str, Any]) -> dict[str, Any]:
    arrays = {name: value[0].copy() for name, value in info.items() if name != "factors"}
    numbers = {name: value.item() for name, value in arrays.items() if value.ndim == 0}
    return arrays | numbers | {"factors": {name: value[0].tolist() for name, value in info["factors"].items()}}
