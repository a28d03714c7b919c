"""Play episodes in the two-room world."""

from typing import Any

import numpy as np

from jepa_wm.control.world_player import WorldPlayer
from jepa_wm.envs import TWO_ROOMS, captions
from jepa_wm.envs.geometry import distance
from jepa_wm.envs.policies import NoisyExpert, Policy, RandomWalk

EXPERT_NOISE = 0.5
REACHED = 0.03
"""Distance from its goal, in sides of the world, at which the expert is given another one."""


class TwoRoomsPlayer(WorldPlayer):
    """A disc that walks at random, or to one goal after another; arguments as `WorldPlayer`'s.

    Args:
        scenes: whether captions describe wall, doors and floors beside the disc and its place.
    """

    environment = TWO_ROOMS

    def __init__(
        self,
        size: int,
        steps: int,
        parallel: int,
        factors: dict[str, Any] | None,
        expert_fraction: float,
        scenes: bool = False,
    ) -> None:
        super().__init__(size, steps, parallel, factors, expert_fraction)
        self.scenes = scenes

    def walk(self, seed: int) -> Policy:
        return RandomWalk(self.parallel, seed)

    def expert(self, seed: int) -> Policy:
        return NoisyExpert(EXPERT_NOISE, seed)

    def reached(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        return distance(states, goals) < REACHED

    def captions(self, states: np.ndarray, factors: dict[str, Any], rng: np.random.Generator) -> list[str]:
        return captions(states, factors, rng, self.scenes)
