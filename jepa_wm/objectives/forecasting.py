"""Forecasting: what comes after this action?"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Dynamics, Objective
from jepa_wm.dynamics.rollout import rollout
from jepa_wm.encoders.vit import ViT, encode_frames
from jepa_wm.errors import UserError
from jepa_wm.losses.sigreg import SIGReg


class Forecasting(Objective):
    """Predict a clip's latents from its actions: teacher-forced one step, and rolled out from the first frame.

    With a trained encoder the gradient flows through prediction and target alike, and SIGReg on the
    latents, frame by frame over the batch, keeps them from collapsing: no teacher, no stop-gradient.

    Args:
        encoder: pixels to latents.
        dynamics: latents and actions to latents.
        sigreg: weight of SIGReg beside the prediction error; 0 leaves it out.
        freeze_encoder: learn the dynamics alone.

    Raises:
        UserError: if encoder and dynamics, or dynamics and data, do not fit each other.

    Source: LeWM (arXiv 2603.19312) for the end-to-end form; the rolled-out loss as jepa-wms (arXiv
    2512.24497), but with gradients through every step.
    """

    def __init__(self, encoder: ViT, dynamics: Dynamics, sigreg: float = 0.05, freeze_encoder: bool = False) -> None:
        super().__init__()
        if encoder.latent_dim != dynamics.latent_dim:
            raise UserError(
                f"Forecasting: the encoder's latent_dim is {encoder.latent_dim}, the dynamics' is "
                f"{dynamics.latent_dim}; expected the same"
            )
        self.encoder, self.dynamics = encoder, dynamics
        self.sigreg, self.freeze_encoder = sigreg, freeze_encoder
        self.gaussianity = SIGReg()
        if freeze_encoder:
            self.encoder.requires_grad_(False)

    def frozen(self) -> list[nn.Module]:
        """The encoder, if it is not to learn."""
        return [self.encoder] if self.freeze_encoder else []

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Give the dynamics the spread of the actions."""
        self.dynamics.set_action_statistics(statistics["action_mean"], statistics["action_std"])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss and its parts; `rollout_relative` is the last step's error over that of standing still."""
        latents = encode_frames(self.encoder, batch["pixels"]).float()
        actions = batch["actions"]
        wanted = self.dynamics.frame_skip * self.dynamics.action_dim
        if actions.shape[-1] != wanted:
            raise UserError(
                f"Forecasting: the data's action blocks are {actions.shape[-1]} wide; expected {wanted}, the dynamics' "
                f"frame_skip {self.dynamics.frame_skip} times its action_dim {self.dynamics.action_dim}"
            )
        forced = self.dynamics(latents[:, :-1], actions)
        one_step = F.mse_loss(forced.float(), latents[:, 1:])
        imagined = rollout(self.dynamics, latents[:, :1], actions[:, :0], actions).float()
        many_steps = F.mse_loss(imagined, latents[:, 1:])
        terms = {"one_step": one_step, "rollout": many_steps}
        loss = one_step + many_steps
        if self.sigreg > 0:
            terms["sigreg"] = self.gaussianity(latents.flatten(2).transpose(0, 1), batch["step"])
            loss = loss + self.sigreg * terms["sigreg"]
        with torch.no_grad():
            error = (imagined[:, -1] - latents[:, -1]).square().mean()
            still = (latents[:, 0] - latents[:, -1]).square().mean()
            terms["rollout_relative"] = error / still
        return {"loss": loss, **terms}

    def exported(self) -> dict[str, nn.Module]:
        """The encoder and the dynamics."""
        return {"encoder": self.encoder, "dynamics": self.dynamics}
