"""Costs of imagined futures: latents (E, S, K, N, D) -> (E, S), lower is better."""

from collections.abc import Callable

import torch
from torch import Tensor

LatentCost = Callable[[Tensor], Tensor]


def goal_distance(goal: Tensor, final: float = 1.0) -> LatentCost:
    """Mean squared distance to `goal` (E, N, D): at the last step, plus the mean over all steps.

    Args:
        goal: the latents to reach.
        final: weight of the last step; the mean over steps has weight 1 - `final`.
    """

    def cost(latents: Tensor) -> Tensor:
        distance = (latents - goal[:, None, None]).square().mean(dim=(-2, -1))
        return _over_time(distance, final)

    return cost


def dissimilarity(similarity: Callable[[Tensor], Tensor], final: float = 1.0) -> LatentCost:
    """One minus a similarity in [-1, 1], e.g. the cosine with a sentence; `final` as in goal_distance.

    Args:
        similarity: latents (E, S, K, N, D) -> (E, S, K).
        final: weight of the last step.
    """

    def cost(latents: Tensor) -> Tensor:
        return _over_time(1.0 - similarity(latents), final)

    return cost


def _over_time(distance: Tensor, final: float) -> Tensor:
    """Distances (E, S, K) -> (E, S)."""
    return torch.lerp(distance.mean(dim=-1), distance[..., -1], final)
