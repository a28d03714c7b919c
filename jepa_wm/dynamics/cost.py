"""What actions cost, by what they lead to."""

import torch
from torch import Tensor

from jepa_wm.contracts import Cost, Dynamics
from jepa_wm.dynamics.rollout import rollout
from jepa_wm.planning.costs import LatentCost

ROWS = 4096
"""Candidates that are rolled out at once on a CPU: few enough for its caches."""


def action_cost(dynamics: Dynamics, latents: Tensor, latent_cost: LatentCost) -> Cost:
    """The cost of candidates (E, S, K, A), each action held over a block, from latents (E, T, N, D) on."""

    def cost(candidates: Tensor) -> Tensor:
        environments, samples = candidates.shape[:2]
        blocks = candidates.flatten(0, 1).repeat(1, 1, dynamics.frame_skip)
        futures = []
        size = max(ROWS // samples, 1) if latents.device.type == "cpu" else environments
        for start in range(0, environments, size):
            seen = latents[start : start + size]
            actions = blocks[start * samples : (start + size) * samples]
            futures.append(rollout(dynamics, seen, actions[: len(seen), :0], actions))
        return latent_cost(torch.cat(futures).unflatten(0, (environments, samples)))

    return cost
