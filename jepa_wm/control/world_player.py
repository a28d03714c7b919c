"""Play episodes in a world of ours by its scripted policies, many at once."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from jepa_wm.data.episodes import Episode
from jepa_wm.envs.policies import Policy
from jepa_wm.envs.world import VectorWorld
from jepa_wm.errors import UserError


class WorldPlayer(ABC):
    """Random walks, and a noisy expert who goes from one goal to another; many episodes at once.

    They play on at a goal, so that no episode ends by itself.

    A child says who walks, who the expert is, when a goal is reached and what there is to say.

    Attributes:
        environment: gymnasium id.

    Args:
        size: height and width of the frames in pixels.
        steps: actions in an episode.
        parallel: episodes played at once.
        factors: factors of variation, by name: a value, "default", "sample" or "held_out".
        expert_fraction: share of the episodes that the expert plays.

    Raises:
        UserError: if an argument is out of range, or a factor is unknown.
    """

    environment: ClassVar[str]

    def __init__(
        self, size: int, steps: int, parallel: int, factors: dict[str, Any] | None, expert_fraction: float
    ) -> None:
        self.steps, self.parallel, self.expert_fraction = steps, parallel, expert_fraction
        if not 0 <= expert_fraction <= 1:
            raise UserError(f"expert_fraction {expert_fraction}; expected 0 to 1")
        world = gymnasium.make_vec(
            self.environment,
            num_envs=parallel,
            vectorization_mode="vector_entry_point",
            size=size,
            max_steps=steps,
            factors=factors,
            autoreset_mode=AutoresetMode.DISABLED,
        ).unwrapped
        assert isinstance(world, VectorWorld)
        self.world = world

    @abstractmethod
    def walk(self, seed: int) -> Policy:
        """The random walk."""

    @abstractmethod
    def expert(self, seed: int) -> Policy:
        """The expert."""

    @abstractmethod
    def reached(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Where (E,) the expert is given another goal."""

    @abstractmethod
    def captions(self, states: np.ndarray, factors: dict[str, Any], rng: np.random.Generator) -> list[str]:
        """A sentence for each of the states (T, P) of one episode."""

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """Of one episode."""
        return self.world.single_action_space

    def play(self, ids: list[str], seeds: list[int]) -> list[Episode]:
        """One episode of each id, all at once; a function of `seeds` alone."""
        world = self.world
        world_seed, walk_seed, expert_seed = np.random.SeedSequence(seeds).generate_state(3).tolist()
        rng = np.random.default_rng(seeds)
        observation, _ = world.reset(seed=world_seed)
        walk, expert = self.walk(walk_seed), self.expert(expert_seed)
        # Spread over the batch so that any part of it has nearly the exact share.
        is_expert = np.diff(np.floor(np.arange(world.num_envs + 1) * self.expert_fraction)).astype(bool)
        goal, factors = np.array(world.goal), world.factor_values
        pixels, states, actions, rewards = [np.array(observation["pixels"])], [np.array(observation["state"])], [], []
        for _ in range(self.steps):
            for i in np.flatnonzero(self.reached(states[-1], goal)).tolist():
                goal[i] = world.draw_goal(world.values_of(i), states[-1][i], rng)
            moves = (policy(states[-1], goal, factors) for policy in (expert, walk))
            actions.append(np.where(is_expert[:, None], *moves).astype(np.float32))
            observation, reward, *_ = world.step(actions[-1])
            pixels.append(np.array(observation["pixels"]))
            states.append(np.array(observation["state"]))
            rewards.append(np.array(reward, np.float32))
        arrays = [np.stack(parts, axis=1) for parts in (pixels, actions, states, rewards)]
        episodes = []
        for i, name in enumerate(ids):
            own = {factor: np.asarray(values[i]).tolist() for factor, values in factors.items()}
            frames, action, state, reward = (array[i] for array in arrays)
            episodes.append(Episode(frames, action, state, reward, self.captions(state, own, rng), own, name, False))
        return episodes
