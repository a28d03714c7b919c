"""A head that learns beside the model."""

from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Batch, LatentTerm
from jepa_wm.dynamics.heads import Head, check_name
from jepa_wm.errors import UserError


class HeadTerm(LatentTerm):
    """Train a head on the latents of a clip.

    Args:
        head: what to train.
        name: that it is saved under.
        weight: factor in the loss.
        detach: keep its gradient away from encoder and dynamics: a readout, which changes nothing about them.
        imagined: train it on what is imagined, too, each rollout behind the frames it set out from, and add the mean
            of their errors.

    Raises:
        UserError: if the name is none that a head can have.
    """

    def __init__(self, head: Head, name: str, weight: float = 1.0, detach: bool = True, imagined: bool = False) -> None:
        super().__init__()
        check_name(name, "HeadTerm")
        self.head, self.name, self.weight, self.detach, self.imagined = head, name, weight, detach, imagined

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> Tensor:
        """See `LatentTerm`.

        Raises:
            UserError: if it is to learn on what is imagined, and nothing was rolled out, or the head is made for other
                latents.
        """
        wanted = (getattr(self.head, "tokens", latents.shape[-2]), self.head.latent_dim)
        if latents.shape[-2:] != wanted:
            raise UserError(
                f"HeadTerm '{self.name}': got latents of {latents.shape[-2]} tokens of width {latents.shape[-1]}; "
                f"{type(self.head).__name__} expected {wanted[0]} of {wanted[1]}: set its tokens and latent_dim"
            )
        clips = [latents]
        if self.imagined:
            if imagined is None:
                raise UserError(f"HeadTerm '{self.name}': imagined is true, but no clip is rolled out to its end")
            seen_frames = latents.shape[1] - imagined.shape[2]
            clips += [torch.cat([latents[:, :seen_frames], member], dim=1) for member in imagined]
        seen, *dreamt = (self.head.error(clip.detach() if self.detach else clip, batch) for clip in clips)
        return seen + torch.stack(dreamt).mean() if dreamt else seen

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Show the data's statistics to the head."""
        self.head.prepare(statistics)

    def after_step(self, progress: float) -> None:
        """Let the head follow an optimiser step."""
        self.head.after_step(progress)

    def exported(self) -> dict[str, nn.Module]:
        """The head, by its name."""
        return {self.name: self.head}
