"""Latents that say what sentences say, seen or imagined."""

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Batch, LatentTerm
from jepa_wm.encoders.text import TextAlignment
from jepa_wm.errors import UserError
from jepa_wm.objectives.contrast import Contrast


class Sentences(LatentTerm):
    """Keep sentences and latents in one space while the latents move: a frame's latents against its caption.

    At each step another frame is taken. Where a rollout goes through it, what is imagined of it has to say the same: a
    planner towards a sentence looks at nothing but what is imagined.

    Args:
        text: the text side, with the head that reads latents; exported as "text".
        weight: factor in the loss.

    Source: the loss is CLIP's, see `Contrast`; that it reads imagined latents too is this package's own.
    """

    def __init__(self, text: TextAlignment, weight: float = 1.0) -> None:
        super().__init__()
        self.text, self.weight = text, weight
        self.contrast = Contrast()

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> Tensor:
        """See `LatentTerm`.

        Raises:
            UserError: if the batch has no captions.
        """
        if not any(any(captions) for captions in batch.get("captions", ())):
            raise UserError("Sentences: the batch has no captions; collect or pack shards with some, or leave it out")
        frames = latents.shape[1]
        frame = batch["step"] % frames
        sentences = self.text.text([captions[frame] for captions in batch["captions"]])
        views = [latents[:, frame]]
        if imagined is not None and frame >= frames - imagined.shape[2]:
            views += list(imagined[:, :, frame - frames])
        seen, *dreamt = (self.contrast(self.text.image(view), sentences) for view in views)
        return seen + torch.stack(dreamt).mean() if dreamt else seen

    def after_step(self, progress: float) -> None:
        """Keep the temperature within its bounds."""
        self.contrast.after_step()

    def exported(self) -> dict[str, nn.Module]:
        """The text alignment."""
        return {"text": self.text}
