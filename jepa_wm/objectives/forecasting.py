"""Forecasting: what comes after this action?"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Dynamics, LatentTerm, Objective
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.dynamics.rollout import rollouts
from jepa_wm.encoders.frames import Frames, PooledFrames
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.losses.cosine import cosine_error

ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": F.mse_loss,
    "l1": F.l1_loss,
    "smooth_l1": F.smooth_l1_loss,
    "cosine": cosine_error,
}


class Forecasting(Objective):
    """Predict a clip's latents from its actions: one step from what was seen, and rolled out from the first frames.

    With a trained encoder the gradient flows through prediction and target alike, and a term such as SIGReg keeps
    the latents from collapsing: no teacher, no stop-gradient. Each member of an ensemble has its own error.

    Args:
        encoder: pixels to latents.
        dynamics: latents and actions to latents.
        terms: what else is asked of the latents, by name, each with its weight.
        frames: how frames become latents; the encoder's pooled ones if none is given.
        error: of a prediction: "l2" (LeWM, JEPA-WM), "l1" (V-JEPA 2-AC), "smooth_l1" or "cosine".
        forced: weight of the error of one step from what was seen.
        rolled: weight of the error of a rollout over the clip, 0 for none.
        seen: frames of the clip that a rollout begins with.
        cut: let no gradient of a rollout back past a step, as jepa-wms does.
        freeze_encoder: learn the dynamics, and the terms' heads, alone.

    Raises:
        UserError: if encoder and dynamics, or dynamics and data, do not fit each other, or an argument is unknown.

    Source: LeWM (arXiv 2603.19312) for the end-to-end form; the rolled-out error as jepa-wms (arXiv 2512.24497).
    V-JEPA 2-AC's published code compares its rollout with its own input, shifted by a frame; here with what followed.
    """

    def __init__(
        self,
        encoder: ViT,
        dynamics: Dynamics,
        terms: dict[str, LatentTerm] | None = None,
        frames: Frames | None = None,
        error: Literal["l2", "l1", "smooth_l1", "cosine"] = "l2",
        forced: float = 1.0,
        rolled: float = 1.0,
        seen: int = 1,
        cut: bool = False,
        freeze_encoder: bool = False,
    ) -> None:
        super().__init__()
        frames = frames or PooledFrames()
        if frames.latent_dim(encoder) != dynamics.latent_dim:
            raise UserError(
                f"Forecasting: the encoder's latents are {frames.latent_dim(encoder)} wide, the dynamics' latent_dim "
                f"is {dynamics.latent_dim}; expected the same"
            )
        if error not in ERRORS or seen < 1 or min(forced, rolled) < 0:
            raise UserError(
                f"Forecasting: got error '{error}', seen {seen}, forced {forced}, rolled {rolled}; expected an error "
                f"of {', '.join(ERRORS)}, one frame or more, and weights of 0 or more"
            )
        self.encoder, self.dynamics, self.frames = encoder, dynamics, frames
        self.bounds = ActionBounds(dynamics.action_dim, dynamics.frame_skip)
        self.terms = nn.ModuleDict(terms or {})
        self.error, self.forced, self.rolled, self.seen, self.cut = ERRORS[error], forced, rolled, seen, cut
        self.freeze_encoder = freeze_encoder
        if freeze_encoder:
            self.encoder.requires_grad_(False)

    def frozen(self) -> list[nn.Module]:
        """The encoder, if it is not to learn."""
        return [self.encoder] if self.freeze_encoder else []

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Give the dynamics the spread of the actions, and the rest what it asks for."""
        self.dynamics.set_action_statistics(statistics["action_mean"], statistics["action_std"])
        self.frames.prepare(statistics)
        self.bounds.prepare(statistics)
        for term in self._terms().values():
            term.prepare(statistics)

    def after_step(self, progress: float) -> None:
        """Let the terms' heads follow."""
        for term in self._terms().values():
            term.after_step(progress)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss and its parts; `rollout_relative` is the last step's error over that of standing still."""
        latents = self.frames(self.encoder, batch["pixels"], batch.get("state"))
        actions = self._actions(batch, latents)
        found: dict[str, Tensor] = {}
        loss = latents.new_zeros(())
        if self.forced:
            found["one_step"] = self._errors(self.dynamics.forced(latents[:, :-1], actions), latents[:, 1:])
            loss = loss + self.forced * found["one_step"]
        imagined = None
        if self.rolled:
            start, context = latents[:, : self.seen], actions[:, : self.seen - 1]
            imagined = rollouts(self.dynamics, start, context, actions[:, self.seen - 1 :], self.cut).float()
            found["rollout"] = self._errors(imagined, latents[:, self.seen :])
            found["rollout_relative"] = self._relative(imagined, latents)
            loss = loss + self.rolled * found["rollout"]
        for name, term in self._terms().items():
            found[name] = term(latents, imagined, batch)
            loss = loss + term.weight * found[name]
        return {"loss": loss, **found}

    def _errors(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """The mean error of all members' predictions (M, B, T, N, D)."""
        return self.error(predicted.float(), wanted.expand_as(predicted))

    @torch.no_grad()
    def _relative(self, imagined: Tensor, latents: Tensor) -> Tensor:
        error = (imagined[:, :, -1] - latents[:, -1]).square().mean()
        return error / (latents[:, self.seen - 1] - latents[:, -1]).square().mean()

    def _actions(self, batch: Batch, latents: Tensor) -> Tensor:
        """The batch's actions (B, T - 1, A), if they fit the dynamics and the clip is long enough."""
        actions, skip = batch["actions"], self.dynamics.frame_skip
        if actions.shape[-1] != skip * self.dynamics.action_dim:
            raise UserError(
                f"Forecasting: the data's action blocks are {actions.shape[-1]} wide; expected "
                f"{skip * self.dynamics.action_dim}, the dynamics' frame_skip {skip} times its action_dim "
                f"{self.dynamics.action_dim}"
            )
        if latents.shape[1] <= self.seen:
            raise UserError(
                f"Forecasting: got clips of {latents.shape[1]} frames; expected more than {self.seen}, those that are "
                "seen; raise data.frames"
            )
        return actions

    def _terms(self) -> dict[str, LatentTerm]:
        return {name: term for name, term in self.terms.items() if isinstance(term, LatentTerm)}

    def exported(self) -> dict[str, nn.Module]:
        """The encoder, how it reads frames, the dynamics, its actions' bounds, and the terms' heads."""
        heads = {name: head for term in self._terms().values() for name, head in term.exported().items()}
        own = {"encoder": self.encoder, "frames": self.frames, "dynamics": self.dynamics, "bounds": self.bounds}
        return own | heads
