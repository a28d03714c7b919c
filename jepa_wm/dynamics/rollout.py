"""The future under a sequence of actions: one free function over any dynamics."""

import torch
from torch import Tensor

from jepa_wm.contracts import Dynamics


def rollout(dynamics: Dynamics, latents: Tensor, context: Tensor, actions: Tensor) -> Tensor:
    """Imagine the latents that follow.

    Args:
        dynamics: what to roll out.
        latents: what was seen, (B, T, N, D).
        context: actions between the seen latents, (B, T-1, A).
        actions: actions from the last seen latent on, (B, K, A), or (B * S, K, A) for S candidates
            of each, adjacent; the context is read once either way.

    Returns:
        Latents (B or B * S, K, N, D) after each action.
    """
    state = dynamics.start(latents, context)
    if actions.shape[0] != latents.shape[0]:
        state = dynamics.expand(state, actions.shape[0] // latents.shape[0])
    future = []
    for action in actions.unbind(dim=1):
        state = dynamics.step(state, action)
        future.append(dynamics.latent(state))
    return torch.stack(future, dim=1)
