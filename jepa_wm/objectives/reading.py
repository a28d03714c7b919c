"""Reading: what does a frame say?"""

from typing import Any

from torch import Tensor, nn

from jepa_wm.contracts import Batch, LatentTerm, Objective
from jepa_wm.encoders.frames import Frames, PooledFrames
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives.terms.terms import Terms


class Reading(Objective):
    """Ask the latents of a clip's frames for what is known of them: terms alone, and no dynamics.

    Where simulators or sensors tell the state, it is the shortest way to an encoder that knows it, by a `HeadTerm`
    whose gradient is not detached; or `InverseDynamics` asks what was done between two frames, and no labels.

    Args:
        encoder: pixels to latents.
        terms: what is asked, by name, each with its weight; their heads are exported.
        frames: how frames become latents; the encoder's pooled ones if none is given.

    Raises:
        UserError: if nothing is asked.

    Source: LeWM (arXiv 2603.19312) and PLDM (arXiv 2502.14819) read states off a finished encoder, to see what it
    knows; here the gradient goes on into it.
    """

    def __init__(self, encoder: ViT, terms: dict[str, LatentTerm], frames: Frames | None = None) -> None:
        super().__init__()
        if not terms:
            raise UserError("Reading.terms: got none; expected one or more, such as HeadTerm")
        self.encoder, self.frames, self.terms = encoder, frames or PooledFrames(), Terms(terms)

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Give frames and terms what they ask for."""
        self.frames.prepare(statistics)
        self.terms.prepare(statistics)

    def after_step(self, progress: float) -> None:
        """Let the terms' heads follow."""
        self.terms.after_step(progress)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss, and what each term says before its weight."""
        latents = self.frames(self.encoder, batch["pixels"], batch.get("state"))
        loss, said = self.terms(latents, None, batch)
        return {"loss": loss, **said}

    def exported(self) -> dict[str, nn.Module]:
        """Encoder, frames, and the terms' heads."""
        return {"encoder": self.encoder, "frames": self.frames, **self.terms.exported()}
