"""Play episodes in the two-room world, by its scripted policies."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from jepa_wm.data.episodes import Episode
from jepa_wm.envs.geometry import distance, geometry
from jepa_wm.envs.language import captions
from jepa_wm.envs.policies import NoisyExpert, RandomWalk
from jepa_wm.envs.vector import TwoRoomsVectorEnv, sample_goal
from jepa_wm.errors import UserError

EXPERT_NOISE = 0.5
REACHED = 0.03
"""Distance from its goal, in sides of the world, at which the expert is given another one."""


class TwoRoomsPlayer:
    """Random walks, and a noisy expert who walks to one goal after another; many episodes at once.

    Args:
        environment: gymnasium id.
        size: height and width of the frames in pixels.
        steps: actions in an episode.
        parallel: episodes played at once.
        factors: factors of variation, by name: a value, "default", "sample" or "held_out".
        expert_fraction: share of the episodes that the expert plays.
        scenes: whether captions describe wall, doors and floors beside the disc and its place.

    Raises:
        UserError: if an argument is out of range, or a factor is unknown.
    """

    def __init__(
        self,
        environment: str,
        size: int,
        steps: int,
        parallel: int,
        factors: dict[str, Any] | None,
        expert_fraction: float,
        scenes: bool = False,
    ) -> None:
        self.steps, self.parallel, self.expert_fraction, self.scenes = steps, parallel, expert_fraction, scenes
        if not 0 <= expert_fraction <= 1:
            raise UserError(f"expert_fraction {expert_fraction}; expected 0 to 1")
        self.world = _make(environment, parallel, size, steps, factors)

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
        walk, expert = RandomWalk(world.num_envs, walk_seed), NoisyExpert(EXPERT_NOISE, expert_seed)
        # Spread over the batch so that any part of it has nearly the exact share.
        is_expert = np.diff(np.floor(np.arange(world.num_envs + 1) * self.expert_fraction)).astype(bool)
        goal, factors, rooms = np.array(world.goal), world.factor_values, geometry(world.factor_values)
        pixels, states, actions, rewards = [np.array(observation["pixels"])], [np.array(observation["state"])], [], []
        for _ in range(self.steps):
            for i in np.flatnonzero(distance(states[-1], goal) < REACHED).tolist():
                goal[i] = sample_goal(rooms.take(np.array([i])), states[-1][i], rng)
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
            said = captions(state, own, rng, self.scenes)
            episodes.append(Episode(frames, action, state, reward, said, own, name))
        return episodes


def _make(environment: str, parallel: int, size: int, steps: int, factors: dict[str, Any] | None) -> TwoRoomsVectorEnv:
    try:
        world = gymnasium.make_vec(
            environment,
            num_envs=parallel,
            vectorization_mode="vector_entry_point",
            size=size,
            max_steps=steps,
            factors=factors,
            autoreset_mode=AutoresetMode.DISABLED,
        ).unwrapped
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise UserError(f"environment '{environment}' cannot be made: {error}") from error
    assert isinstance(world, TwoRoomsVectorEnv)
    return world
