"""Play episodes of Push-T."""

from typing import Any

import numpy as np

from jepa_wm.control.world_player import WorldPlayer
from jepa_wm.envs import PUSH_T
from jepa_wm.envs.policies import Policy
from jepa_wm.envs.push_t_language import caption
from jepa_wm.envs.push_t_policy import BlockWalk, Pusher
from jepa_wm.envs.tee import measure

EXPERT_NOISE = 0.2


class PushTPlayer(WorldPlayer):
    """A pusher that wanders about the block, or brings it to one goal after another; arguments as `WorldPlayer`'s."""

    environment = PUSH_T

    def walk(self, seed: int) -> Policy:
        return BlockWalk(self.parallel, seed)

    def expert(self, seed: int) -> Policy:
        return Pusher(EXPERT_NOISE, seed)

    def reached(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        return measure(states, goals)["success"]

    def captions(self, states: np.ndarray, factors: dict[str, Any], rng: np.random.Generator) -> list[str]:
        return [caption(state, rng) for state in states]
