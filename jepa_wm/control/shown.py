"""Any gymnasium environment, as pictures of one size and states."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image, ImageOps

from jepa_wm.errors import UserError
from jepa_wm.interop.make import make
from jepa_wm.interop.worlds import PREFIX

ACTIONS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class Shown:
    """An environment that shows what happens.

    Frames are the observation's `pixels`, the observation itself where that is a picture, or else what the
    environment renders; they are cut to a square about their centre and resized. The state is the rest of
    the observation, flattened.

    Attributes:
        world: the environment.

    Args:
        environment: gymnasium id.
        size: height and width of the frames in pixels.
        options: what the environment is made with.

    Raises:
        UserError: if the environment cannot be made, shows no pictures, or has other actions than there are vectors of.
    """

    def __init__(self, environment: str, size: int, options: Mapping[str, Any] | None = None) -> None:
        if size < 1:
            raise UserError(f"size is {size}; expected at least 1")
        self.environment, self.size = environment, size
        try:
            self.world = _made(environment, options or {})
        # Environments raise what they like where a package is missing or a renderer finds no display.
        except Exception as error:
            raise UserError(f"environment '{environment}' cannot be made: {error}") from error
        if not isinstance(self.world.action_space, ACTIONS):
            kinds = ", ".join(kind.__name__ for kind in ACTIONS)
            raise UserError(
                f"environment '{environment}' has actions {self.world.action_space}; expected one of {kinds}"
            )

    def frame(self, observation: Any) -> np.ndarray:
        """The picture uint8 (3, size, size) of what is observed now."""
        given = observation.get("pixels") if isinstance(observation, dict) else observation
        given = given if _picture(given) is not None else self._rendered()
        picture = _picture(given)
        if picture is None:
            raise UserError(
                f"environment '{self.environment}' renders {type(given).__name__}; expected (H, W, 3) uint8"
            )
        fitted = ImageOps.fit(Image.fromarray(picture), (self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(fitted).transpose(2, 0, 1)

    def state(self, observation: Any) -> np.ndarray:
        """What is observed beside the picture: float32 (P,)."""
        space = self.world.observation_space
        if isinstance(observation, dict) and isinstance(space, spaces.Dict):
            rest = {name: part for name, part in space.items() if _picture(observation[name]) is None}
            observation, space = {name: observation[name] for name in rest}, spaces.Dict(rest)
        if _picture(observation) is not None or not spaces.flatdim(space):
            return np.zeros(0, np.float32)
        return np.asarray(spaces.flatten(space, observation), np.float32).ravel()

    def _rendered(self) -> Any:
        try:
            return self.world.render()
        # As in making it: what draws may be a package of its own.
        except Exception as error:
            raise UserError(f"environment '{self.environment}' cannot be drawn: {error}") from error


def _made(environment: str, options: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    if not environment.startswith(PREFIX):
        return gymnasium.make(environment, render_mode="rgb_array", **options)
    return make(environment)


def _picture(value: Any) -> np.ndarray | None:
    """A picture with its channels last, (H, W, 3), if it is one; worlds of ours have theirs first."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 3:
        return None
    return value if value.shape[2] == 3 else value.transpose(1, 2, 0) if value.shape[0] == 3 else None
