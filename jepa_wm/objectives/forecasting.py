"""Forecasting: what comes after this action?"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Dynamics, LatentTerm, Objective
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.dynamics.calibration import Calibration, signs_of
from jepa_wm.dynamics.checks import check_width
from jepa_wm.dynamics.ensemble import Ensemble
from jepa_wm.dynamics.rollout import rollouts
from jepa_wm.encoders.encoded import check_encoded, latents_of
from jepa_wm.encoders.frames import Frames, PooledFrames
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.losses.cosine import cosine_error
from jepa_wm.objectives.terms.terms import Terms
from jepa_wm.precision import at_least_float32

ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": F.mse_loss,
    "l1": F.l1_loss,
    "smooth_l1": F.smooth_l1_loss,
    "cosine": cosine_error,
}


class Rollout:
    """How a clip is rolled out in training.

    Args:
        weight: of the error, the mean over the steps.
        seen: frames of the clip that the rollout begins with.
        cut: let no gradient back past a step, as jepa-wms does. What a cached predictor keeps of frames before has none
            either; there, and in `JepaWMDynamics`, the window is read anew with it.
        steps: how many follow; None for all that the clip has.

    Raises:
        UserError: if fewer than one frame is seen, or follows.
    """

    def __init__(self, weight: float = 1.0, seen: int = 1, cut: bool = False, steps: int | None = None) -> None:
        if seen < 1 or (steps is not None and steps < 1):
            raise UserError(f"Rollout: got {seen} frames seen and {steps} steps; expected one or more of each")
        self.weight, self.seen, self.cut, self.steps = weight, seen, cut, steps
        self.end = None if steps is None else seen + steps
        self.needed = self.end or seen + 1


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
        rollout: the error of a rollout over the clip; with weight 0 there is none.
        detach: let no gradient through what is to be predicted (temporal straightening, arXiv 2603.12231).
        freeze_encoder: learn the dynamics and the terms' heads; and what `frames` has to learn, as the embedding of
            `StateFrames`, which without `detach` may shrink so as to be easy to predict.

    Raises:
        UserError: if encoder and dynamics, or dynamics and data, do not fit each other, an argument is unknown, or
            nothing is asked for.

    Source: LeWM (arXiv 2603.19312) for the end-to-end form; the rolled-out error as jepa-wms (arXiv 2512.24497).
    V-JEPA 2-AC's released weights were trained by code (mended in June 2025) that rolled out from a prediction of the
    wrong frame; here each prediction is fed back in its own place.
    """

    def __init__(
        self,
        encoder: ViT,
        dynamics: Dynamics,
        terms: dict[str, LatentTerm] | None = None,
        frames: Frames | None = None,
        error: Literal["l2", "l1", "smooth_l1", "cosine"] = "l2",
        forced: float = 1.0,
        rollout: Rollout | None = None,
        detach: bool = False,
        freeze_encoder: bool = False,
    ) -> None:
        super().__init__()
        frames = frames or PooledFrames()
        check_width("Forecasting", encoder, frames, dynamics)
        if error not in ERRORS:
            raise UserError(f"Forecasting.error: got '{error}'; expected one of {', '.join(ERRORS)}")
        rollout = rollout or Rollout()
        if not (forced or rollout.weight or terms):
            raise UserError(
                "Forecasting: forced and rollout.weight are 0, and there are no terms; expected one to learn by"
            )
        self.encoder, self.dynamics, self.frames = encoder, dynamics, frames
        self.bounds = ActionBounds(dynamics.action_dim, dynamics.frame_skip)
        self.calibration = Calibration(dynamics.latent_dim) if isinstance(dynamics, Ensemble) else None
        self.terms = Terms(terms or {})
        self.error, self.forced, self.rollout = ERRORS[error], forced, rollout
        self.detach, self.freeze_encoder = detach, freeze_encoder
        if freeze_encoder:
            self.encoder.requires_grad_(False)

    def frozen(self) -> list[nn.Module]:
        """The encoder, if it is not to learn."""
        return [self.encoder] if self.freeze_encoder else []

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Give the dynamics the spread of the actions, and the rest what it asks for.

        Raises:
            UserError: if latents are read that are not of this encoder, or while it learns.
        """
        check_encoded(statistics.get("encoded_by", []), self.encoder, self.frames, "Forecasting")
        for part in (self.dynamics, self.frames, self.bounds, self.terms):
            part.prepare(statistics)

    def after_step(self, progress: float) -> None:
        """Let the terms' heads follow."""
        self.terms.after_step(progress)

    @torch.no_grad()
    def calibrate(self, learned: Iterable[Batch], held_out: Iterable[Batch]) -> None:
        """Fit what tells of an ensemble's error to clips that it learned from, which are many, its size to others."""
        if self.calibration is not None:
            # Both are read before either is used: what lacks a split is left as it was.
            fitted_on, sized_on = self._told(learned), self._told(held_out)
            self.calibration.fit(*fitted_on)
            self.calibration.rescale(*sized_on)

    def _told(self, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
        """Signs (C, K, 2 + 2 D) of the errors (C, K) of clips rolled out from their first frames, and these."""
        found = []
        for batch in batches:
            latents = latents_of(batch, self.encoder, self.frames)
            members = self._imagined(latents, self._actions(batch, latents))
            error = (members.mean(dim=0) - latents[:, self.rollout.seen :]).square().mean(dim=(-2, -1)).sqrt()
            found.append((signs_of(members, latents[:, self.rollout.seen - 1]), error))
        if not found:
            raise UserError("Forecasting.calibrate: got no clips of a split; expected a batch or more of each")
        signs, errors = (torch.cat(values) for values in zip(*found, strict=True))
        return signs, errors

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss and its parts; `rollout_relative` is the last step's error over that of standing still."""
        latents = latents_of(batch, self.encoder, self.frames)
        actions = self._actions(batch, latents)
        wanted = latents.detach() if self.detach else latents
        found: dict[str, Tensor] = {}
        loss = latents.new_zeros(())
        if self.forced:
            found["one_step"] = self._errors(self.dynamics.forced(latents[:, :-1], actions), wanted[:, 1:])
            loss = loss + self.forced * found["one_step"]
        imagined = None
        if self.rollout.weight:
            near = latents[:, : self.rollout.end]
            imagined = self._imagined(near, actions[:, : near.shape[1] - 1])
            found["rollout"] = self._errors(imagined, wanted[:, self.rollout.seen : near.shape[1]])
            found["rollout_relative"] = self._relative(imagined, near)
            loss = loss + self.rollout.weight * found["rollout"]
            imagined = imagined if near.shape[1] == latents.shape[1] else None
        asked, said = self.terms(latents, imagined, batch)
        return {"loss": loss + asked, **found, **said}

    def _imagined(self, latents: Tensor, actions: Tensor) -> Tensor:
        """What all members say of a clip behind the frames that are seen, (M, B, K, N, D)."""
        seen = self.rollout.seen
        start, context, ahead = latents[:, :seen], actions[:, : seen - 1], actions[:, seen - 1 :]
        return at_least_float32(rollouts(self.dynamics, start, context, ahead, self.rollout.cut))

    def _errors(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """The mean error of all members' predictions (M, B, T, N, D)."""
        return self.error(at_least_float32(predicted), wanted.expand_as(predicted))

    @torch.no_grad()
    def _relative(self, imagined: Tensor, latents: Tensor) -> Tensor:
        error = (imagined[:, :, -1] - latents[:, -1]).square().mean()
        moved = (latents[:, self.rollout.seen - 1] - latents[:, -1]).square().mean()
        # Where nothing moves at all, it is a large number and not none.
        return (error / moved.clamp(min=torch.finfo(moved.dtype).tiny)).clamp(max=torch.finfo(error.dtype).max)

    def _actions(self, batch: Batch, latents: Tensor) -> Tensor:
        """The batch's actions (B, T - 1, A), if they fit the dynamics and the clip is long enough."""
        actions, skip = batch["actions"], self.dynamics.frame_skip
        if latents.shape[1] < self.rollout.needed:
            raise UserError(
                f"Forecasting: got clips of {latents.shape[1]} frames; expected {self.rollout.needed} or more, the "
                f"{self.rollout.seen} that a rollout begins with and its steps; raise data.frames"
            )
        if actions.shape[-1] != skip * self.dynamics.action_dim:
            raise UserError(
                f"Forecasting: the data's action blocks are {actions.shape[-1]} wide; expected "
                f"{skip * self.dynamics.action_dim}, the dynamics' frame_skip {skip} times its action_dim "
                f"{self.dynamics.action_dim}; data.frame_skip must be the dynamics'"
            )
        return actions

    def exported(self) -> dict[str, nn.Module]:
        """All that a world model is made of, the terms' heads among it."""
        own = {name: getattr(self, name) for name in ("encoder", "frames", "dynamics", "bounds")}
        own |= {} if self.calibration is None else {"calibration": self.calibration}
        return own | self.terms.exported()
