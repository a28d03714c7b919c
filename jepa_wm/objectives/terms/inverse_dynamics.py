"""Latents that tell which action was taken."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.contracts import Batch, LatentTerm
from jepa_wm.dynamics.heads import reader
from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32
from jepa_wm.standard import Standard


class InverseDynamics(LatentTerm):
    """An MLP reads the actions between two frames off their latents; mean squared error in standard deviations.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents.
        width: of the hidden layers.
        weight: factor in the loss.

    Source: PLDM (arXiv 2502.14819), eb_jepa. Without it latents may hold what never moves and nothing else.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        tokens: int = 1,
        action_dim: int = 2,
        frame_skip: int = 5,
        width: int = 256,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.action_dim, self.frame_skip = latent_dim, tokens, action_dim, frame_skip
        self.width, self.weight = width, weight
        self.standard = Standard(action_dim, "action")
        self.read = reader(latent_dim, 2 * tokens, width, frame_skip * action_dim)

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> Tensor:
        """See `LatentTerm`."""
        actions = batch["actions"]
        if actions.shape[-1] != self.frame_skip * self.action_dim:
            raise UserError(
                f"InverseDynamics: the data's action blocks are {actions.shape[-1]} wide; expected "
                f"{self.frame_skip * self.action_dim}, frame_skip {self.frame_skip} times action_dim {self.action_dim}"
            )
        pairs = torch.cat([latents[:, :-1], latents[:, 1:]], dim=2)
        taken = self.standard(actions.unflatten(-1, (self.frame_skip, self.action_dim))).flatten(-2)
        return F.mse_loss(at_least_float32(self.read(pairs)), taken)

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in `action_mean` and `action_std`."""
        self.standard.prepare(statistics)
