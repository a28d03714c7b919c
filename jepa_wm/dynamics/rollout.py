"""The future under a sequence of actions: free functions over any dynamics."""

from torch import Tensor

from jepa_wm.contracts import Dynamics, State


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
    return dynamics.future(begin(dynamics, latents, context, actions), actions)


def rollouts(dynamics: Dynamics, latents: Tensor, context: Tensor, actions: Tensor, cut: bool = False) -> Tensor:
    """What each of the M members of an ensemble imagines (M, B or B * S, K, N, D); see `rollout`, Dynamics.future."""
    return dynamics.futures(begin(dynamics, latents, context, actions), actions, cut)


def begin(dynamics: Dynamics, latents: Tensor, context: Tensor, actions: Tensor) -> State:
    """The state after what was seen, once for each candidate in `actions`; see `rollout`."""
    state = dynamics.start(latents, context)
    candidates = actions.shape[0] // latents.shape[0]
    return state if candidates == 1 else dynamics.expand(state, candidates)
