"""Play episodes in any gymnasium environment, one after another."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from jepa_wm.control.shown import Shown
from jepa_wm.data.episodes import Episode
from jepa_wm.errors import UserError


class SinglePlayer:
    """Random actions in any environment that shows what happens, and an expert's where it has one.

    An environment's expert is `expert(seed)`, or that of a wrapper around it: who plays one episode, by its infos.
    Frames and states are as `Shown` gives them. Discrete actions become one-hot vectors. An episode ends where the
    environment ends it, and `info["caption"]` and `info["factors"]` are kept where there are such.

    Args:
        environment: gymnasium id.
        size: height and width of the frames in pixels.
        steps: actions in an episode, at most.
        expert_fraction: how likely it is that an episode is the expert's, if there is one.

    Raises:
        UserError: if the share is none, or the environment cannot be made, shows no pictures, or has other actions.
    """

    parallel = 1

    def __init__(self, environment: str, size: int, steps: int, expert_fraction: float = 0.0) -> None:
        if not 0 <= expert_fraction <= 1:
            raise UserError(f"expert_fraction {expert_fraction}; expected 0 to 1")
        self.shown, self.steps = Shown(environment, size), steps
        self.expert_fraction = expert_fraction if self.shown.world.has_wrapper_attr("expert") else 0.0

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """Of the environment."""
        return self.shown.world.action_space

    def play(self, ids: list[str], seeds: list[int]) -> list[Episode]:
        """One episode of each id; a function of `seeds` alone."""
        return [self._episode(name, [*seeds, number]) for number, name in enumerate(ids)]

    def _episode(self, name: str, seeds: list[int]) -> Episode:
        shown, world = self.shown, self.shown.world
        world_seed, action_seed, expert_seed = np.random.SeedSequence(seeds).generate_state(3).tolist()
        observation, info = world.reset(seed=world_seed)
        act = self._policy(action_seed, expert_seed)
        frames, states, captions = [shown.frame(observation)], [shown.state(observation)], [_caption(info)]
        factors = info.get("factors", {})
        actions: list[np.ndarray] = []
        rewards: list[float] = []
        terminated = truncated = False
        while not (terminated or truncated) and len(actions) < self.steps:
            action = act(info)
            observation, reward, terminated, truncated, info = world.step(action)
            actions.append(np.asarray(spaces.flatten(self.action_space, action), np.float32))
            rewards.append(float(reward))
            frames.append(shown.frame(observation))
            states.append(shown.state(observation))
            captions.append(_caption(info))
        arrays = np.stack(frames), np.stack(actions), np.stack(states), np.array(rewards, np.float32)
        return Episode(*arrays, captions, factors, name, bool(terminated))

    def _policy(self, action_seed: int, expert_seed: int) -> Callable[[dict[str, Any]], Any]:
        """Who plays an episode: infos to actions."""
        if np.random.default_rng(expert_seed).random() < self.expert_fraction:
            expert: Callable[[dict[str, Any]], Any] = self.shown.world.get_wrapper_attr("expert")(expert_seed)
            return expert
        self.action_space.seed(action_seed)
        return lambda info: self.action_space.sample()


def _caption(info: dict[str, Any]) -> str:
    return str(info.get("caption", ""))
