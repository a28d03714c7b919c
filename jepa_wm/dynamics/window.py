"""Predictors with positions counted from the start of their window, which they read anew at every step."""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.contracts import Dynamics


class WindowState(NamedTuple):
    """The latents (B, t, N, D) of the last frames, and the actions (B, t - 1, A) between them."""

    latents: Tensor
    actions: Tensor


class WindowDynamics(Dynamics):
    """The form that published predictors have: what they see is the last `window` frames and their actions.

    A subclass says in `read` what follows each of at most `window` frames; a step reads all of them anew. Within its
    `future` it may keep what does not change until the window is full, as LeWM's does. Kept for their released weights:
    a `TransformerDynamics` of the same size rolls out several times as fast.

    Attributes:
        window: frames that are read.
    """

    window: int

    def read(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents (B, T, N, D) of at most `window` frames, and the action after each (B, T, A) -> the next of each."""
        raise NotImplementedError

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Teacher forcing: latents (B, T, N, D) and the action after each (B, T, A) -> the next of each."""
        later = [
            self.read(latents[:, stop - self.window : stop], actions[:, stop - self.window : stop])[:, -1:]
            for stop in range(self.window + 1, latents.shape[1] + 1)
        ]
        return torch.cat([self.read(latents[:, : self.window], actions[:, : self.window]), *later], dim=1)

    def start(self, latents: Tensor, actions: Tensor) -> WindowState:
        """Keep the end of the context: latents (B, T, N, D), actions between them (B, T-1, A)."""
        kept = min(self.window, latents.shape[1])
        return WindowState(latents[:, -kept:], actions[:, actions.shape[1] - kept + 1 :])

    def step(self, state: WindowState, action: Tensor) -> WindowState:
        """Advance by one latent under `action` (B, A)."""
        actions = torch.cat([state.actions, action[:, None]], dim=1)
        following = self.read(state.latents, actions)[:, -1:]
        return self.start(torch.cat([state.latents, following.to(state.latents.dtype)], dim=1), actions)

    def latent(self, state: WindowState) -> Tensor:
        """The state's newest latent (B, N, D)."""
        return state.latents[:, -1]

    def expand(self, state: WindowState, candidates: int) -> WindowState:
        """S candidates of each state, adjacent.

        The window is copied for each: a step joins it with what is imagined and reads it all, which takes more than ten
        times as much memory, so that to share it would save nothing where most is needed.
        """
        return WindowState(*(part.repeat_interleave(candidates, dim=0) for part in state))
