"""Where things are: the environment's state, or proprioception, read off the latents."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from jepa_wm.contracts import Batch
from jepa_wm.dynamics.heads.head import Head, reader, told
from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32
from jepa_wm.standard import Standard


class StateHead(Head):
    """Tell the state of a frame, in the environment's units; the error is in standard deviations of the training data.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame.
        state_dim: P.
        width: of the hidden layers.
    """

    def __init__(self, latent_dim: int = 64, tokens: int = 1, state_dim: int = 2, width: int = 256) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.state_dim, self.width = latent_dim, tokens, state_dim, width
        self.standard = Standard(state_dim, "state")
        self.read = reader(latent_dim, tokens, width, state_dim)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> states (..., P)."""
        return self.standard.inverse(at_least_float32(self.read(latents)))

    def error(self, latents: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of the states that latents (B, T, N, D) tell."""
        state = told(batch, "state", "StateHead")
        if state.shape[-1] != self.state_dim:
            raise UserError(f"StateHead: the data's state has {state.shape[-1]} numbers; state_dim is {self.state_dim}")
        return F.mse_loss(at_least_float32(self.read(latents)), self.standard(state))

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in `state_mean` and `state_std`."""
        self.standard.prepare(statistics)
