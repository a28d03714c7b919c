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
        columns: of the state, those that it learns; of the others it tells the mean. What no frame shows, such as a
            velocity, is noise to whatever learns with the head. All if none are given.

    Raises:
        UserError: if a column is not of the state, or named twice.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        tokens: int = 1,
        state_dim: int = 2,
        width: int = 256,
        columns: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.state_dim, self.width = latent_dim, tokens, state_dim, width
        self.columns = list(range(state_dim)) if columns is None else list(columns)
        if not self.columns or len({*self.columns} & {*range(state_dim)}) < len(self.columns):
            raise UserError(f"StateHead.columns: got {self.columns}; expected some of 0 to {state_dim - 1}, each once")
        self.standard = Standard(state_dim, "state")
        self.read = reader(latent_dim, tokens, width, len(self.columns))

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> states (..., P)."""
        read = at_least_float32(self.read(latents))
        whole = read.new_zeros(*read.shape[:-1], self.state_dim)
        whole[..., self.columns] = read
        return self.standard.inverse(whole)

    def error(self, latents: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of what latents (B, T, N, D) tell of the states."""
        state = told(batch, "state", "StateHead")
        if state.shape[-1] != self.state_dim:
            raise UserError(f"StateHead: the data's state has {state.shape[-1]} numbers; state_dim is {self.state_dim}")
        return F.mse_loss(at_least_float32(self.read(latents)), self.standard(state)[..., self.columns])

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in `state_mean` and `state_std`."""
        self.standard.prepare(statistics)
