"""Play episodes in any gymnasium environment, by random actions."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from jepa_wm.control.shown import Shown
from jepa_wm.data.episodes import Episode


class RandomPlayer:
    """Random actions in any environment that shows what happens, one episode after another.

    Frames and states are as `Shown` gives them. Discrete actions become one-hot vectors. An episode ends where the
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
        self.shown, self.steps = Shown(environment, size), steps

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """Of the environment."""
        return self.shown.world.action_space

    def play(self, ids: list[str], seeds: list[int]) -> list[Episode]:
        """One episode of each id; a function of `seeds` alone."""
        return [self._episode(name, [*seeds, number]) for number, name in enumerate(ids)]

    def _episode(self, name: str, seeds: list[int]) -> Episode:
        shown, world = self.shown, self.shown.world
        world_seed, action_seed = np.random.SeedSequence(seeds).generate_state(2).tolist()
        self.action_space.seed(action_seed)
        observation, info = world.reset(seed=world_seed)
        frames, states, captions = [shown.frame(observation)], [shown.state(observation)], [_caption(info)]
        factors = info.get("factors", {})
        actions: list[np.ndarray] = []
        rewards: list[float] = []
        terminated = truncated = False
        while not (terminated or truncated) and len(actions) < self.steps:
            action = self.action_space.sample()
            observation, reward, terminated, truncated, info = world.step(action)
            actions.append(np.asarray(spaces.flatten(self.action_space, action), np.float32))
            rewards.append(float(reward))
            frames.append(shown.frame(observation))
            states.append(shown.state(observation))
            captions.append(_caption(info))
        arrays = np.stack(frames), np.stack(actions), np.stack(states), np.array(rewards, np.float32)
        return Episode(*arrays, captions, factors, name, bool(terminated))


def _caption(info: dict[str, Any]) -> str:
    return str(info.get("caption", ""))
