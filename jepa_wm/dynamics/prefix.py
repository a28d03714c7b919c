"""All futures of a sequence of actions in one forward pass."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics.cached import Caches
from jepa_wm.dynamics.transformer import TransformerDynamics
from jepa_wm.errors import UserError


class PrefixState(NamedTuple):
    """Newest latent (B, N, D), the last one that was seen, its number, that of the newest, and the caches."""

    latent: Tensor
    seen: Tensor
    seen_frame: int
    frame: int
    caches: Caches


class PrefixDynamics(Dynamics):
    """Predict the latent after each prefix of the actions from what was seen, without a look at what was predicted.

    Frames to come enter the transformer as the last seen latent, marked as unseen, and see the actions before them;
    so no error is fed back, and K frames take one pass instead of K.

    Args:
        transformer: what predicts; its window holds the context and all frames to come, but the last, which is not
            read: beyond it the first actions would be out of sight of the last frames.

    Raises:
        UserError: by `step` and `future`, if the window ends before the frames do.

    Source: the idea of Fast-LeWM (arXiv 2606.26217), written anew on this package's transformer.
    """

    def __init__(self, transformer: TransformerDynamics) -> None:
        super().__init__()
        self.transformer = transformer
        self.latent_dim, self.action_dim = transformer.latent_dim, transformer.action_dim
        self.frame_skip = transformer.frame_skip
        self.unseen = nn.Parameter(0.02 * torch.randn(transformer.latent_dim))

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the data's statistics before training."""
        self.transformer.prepare(statistics)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Teacher forcing: latents (B, T, N, D) and the action after each (B, T, A) -> the next of each."""
        return self.transformer(latents, actions)

    def start(self, latents: Tensor, actions: Tensor) -> PrefixState:
        """Read the context once: latents (B, T, N, D), actions between them (B, T-1, A)."""
        latent, frame, caches = self.transformer.start(latents, actions)
        return PrefixState(latent, latent, frame, frame, caches)

    def step(self, state: PrefixState, action: Tensor) -> PrefixState:
        """Advance by one latent under `action` (B, A)."""
        latents, caches = self._read(state, action[:, None])
        return state._replace(latent=latents[:, 0], frame=state.frame + 1, caches=caches)

    def latent(self, state: PrefixState) -> Tensor:
        """The state's newest latent (B, N, D)."""
        return state.latent

    def expand(self, state: PrefixState, candidates: int) -> PrefixState:
        """S candidates of each state, adjacent; what was seen is not copied."""
        caches = tuple(None if cache is None else cache.expand(candidates) for cache in state.caches)
        latent, seen = (part.repeat_interleave(candidates, dim=0) for part in (state.latent, state.seen))
        return state._replace(latent=latent, seen=seen, caches=caches)

    def future(self, state: PrefixState, actions: Tensor, cut: bool = False) -> Tensor:
        """The latents (B, K, N, D) after each of the actions (B, K, A), in one pass; there are no steps to cut."""
        return self._read(state, actions)[0]

    def _read(self, state: PrefixState, actions: Tensor) -> tuple[Tensor, Caches]:
        stop, window = state.frame + actions.shape[1], self.transformer.window
        if stop > window:
            raise UserError(
                f"PrefixDynamics: got {state.seen_frame + 1} frames of context and {stop - state.seen_frame} to come; "
                f"expected {window + 1} at most together, for the last would not see the first actions; give its "
                f"transformer, whose window is {window}, a wider one and train it, or take fewer frames"
            )
        ahead = torch.arange(state.frame, state.frame + actions.shape[1], device=actions.device) > state.seen_frame
        entering = state.seen[:, None] + ahead[:, None, None] * self.unseen
        return self.transformer.read(entering, actions, state.frame, state.caches)
