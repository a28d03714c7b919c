"""Play episodes in any gymnasium environment, by random actions."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image, ImageOps

from jepa_wm.data.episodes import Episode
from jepa_wm.errors import UserError
from jepa_wm.interop.worlds import PREFIX, make

ACTIONS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class RandomPlayer:
    """Random actions in any environment that shows what happens, one episode after another.

    Frames are the observation's `pixels`, the observation itself where that is a picture, or else what the
    environment renders; they are cut to a square about their centre and resized. The state is the rest of
    the observation, flattened. Discrete actions become one-hot vectors. An episode ends where the
    environment ends it, and `info["caption"]` and `info["factors"]` are kept where there are such.

    Args:
        environment: gymnasium id.
        size: height and width of the frames in pixels.
        steps: actions in an episode, at most.

    Raises:
        UserError: if the environment cannot be made, shows no pictures, or has other actions.
    """

    parallel = 1

    def __init__(self, environment: str, size: int, steps: int) -> None:
        if size < 1:
            raise UserError(f"size is {size}; expected at least 1")
        self.environment, self.size, self.steps = environment, size, steps
        try:
            self.world = _made(environment)
        # Environments raise what they like where a package is missing or a renderer finds no display.
        except Exception as error:
            raise UserError(f"environment '{environment}' cannot be made: {error}") from error
        if not isinstance(self.world.action_space, ACTIONS):
            kinds = ", ".join(kind.__name__ for kind in ACTIONS)
            raise UserError(
                f"environment '{environment}' has actions {self.world.action_space}; expected one of {kinds}"
            )

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """Of the environment."""
        return self.world.action_space

    def play(self, ids: list[str], seeds: list[int]) -> list[Episode]:
        """One episode of each id; a function of `seeds` alone."""
        return [self._episode(name, [*seeds, number]) for number, name in enumerate(ids)]

    def _episode(self, name: str, seeds: list[int]) -> Episode:
        world_seed, action_seed = np.random.SeedSequence(seeds).generate_state(2).tolist()
        self.action_space.seed(action_seed)
        observation, info = self.world.reset(seed=world_seed)
        frames, states, captions = [self._frame(observation)], [self._state(observation)], [_caption(info)]
        factors = info.get("factors", {})
        actions: list[np.ndarray] = []
        rewards: list[float] = []
        ended = False
        while not ended and len(actions) < self.steps:
            action = self.action_space.sample()
            observation, reward, terminated, truncated, info = self.world.step(action)
            ended = terminated or truncated
            actions.append(np.asarray(spaces.flatten(self.action_space, action), np.float32))
            rewards.append(float(reward))
            frames.append(self._frame(observation))
            states.append(self._state(observation))
            captions.append(_caption(info))
        pixels = np.stack(frames).transpose(0, 3, 1, 2)
        reward_row = np.array(rewards, np.float32)
        return Episode(pixels, np.stack(actions), np.stack(states), reward_row, captions, factors, name)

    def _frame(self, observation: Any) -> np.ndarray:
        picture = observation.get("pixels") if isinstance(observation, dict) else observation
        picture = picture if _is_picture(picture) else self._rendered()
        if not _is_picture(picture):
            raise UserError(
                f"environment '{self.environment}' renders {type(picture).__name__}; expected (H, W, 3) uint8"
            )
        fitted = ImageOps.fit(Image.fromarray(np.asarray(picture)), (self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(fitted)

    def _rendered(self) -> Any:
        try:
            return self.world.render()
        # As in making it: what draws may be a package of its own.
        except Exception as error:
            raise UserError(f"environment '{self.environment}' cannot be drawn: {error}") from error

    def _state(self, observation: Any) -> np.ndarray:
        space = self.world.observation_space
        if isinstance(observation, dict) and isinstance(space, spaces.Dict):
            rest = {name: part for name, part in space.items() if not _is_picture(observation[name])}
            observation, space = {name: observation[name] for name in rest}, spaces.Dict(rest)
        if _is_picture(observation) or not spaces.flatdim(space):
            return np.zeros(0, np.float32)
        return np.asarray(spaces.flatten(space, observation), np.float32).ravel()


def _made(environment: str) -> gymnasium.Env[Any, Any]:
    if not environment.startswith(PREFIX):
        return gymnasium.make(environment, render_mode="rgb_array")
    return make(environment)


def _is_picture(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3


def _caption(info: dict[str, Any]) -> str:
    return str(info.get("caption", ""))
