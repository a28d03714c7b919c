"""Contrastive text alignment: what do the words say?"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from jepa_wm.contracts import Batch, Objective
from jepa_wm.encoders.text import TextAlignment
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.losses.sigreg import SIGReg
from jepa_wm.objectives.contrast import Contrast


class ContrastiveText(Objective):
    """Bring a picture's latent and its caption together, and apart from the batch's others.

    Of a clip one frame is used, another at each step; it goes through the encoder as an image.

    Args:
        encoder: the image side.
        text: the text side, with the head that reads the encoder's latents.
        loss: "clip" (softmax over the batch) or "siglip" (a sigmoid for each pair).
        sigreg: weight of SIGReg on the latents, which spreads them over all dimensions; 0 leaves it out.
        chunk: pictures and sentences that are encoded at once; their activations are computed again in the backward
            pass, so that the batch may be as large as its latents allow. None encodes the batch at once.
        lock: "image" to leave the encoder as it is (LiT), "text" to leave the text tower as it is, or None.

    Raises:
        UserError: if encoder and text do not fit each other, `loss` or `lock` is unknown, or `chunk` is set where a
            batch norm would see each chunk for itself.

    Source: see `Contrast`; gradient caching (arXiv 2101.06983), here by activation checkpointing of each chunk, which
    computes the same; LiT (arXiv 2111.07991).
    """

    def __init__(
        self,
        encoder: ViT,
        text: TextAlignment,
        loss: Literal["clip", "siglip"] = "clip",
        sigreg: float = 0.0,
        chunk: int | None = None,
        lock: Literal["image", "text"] | None = None,
    ) -> None:
        super().__init__()
        if encoder.latent_dim != text.latent_dim:
            raise UserError(
                f"ContrastiveText: the encoder's latent_dim is {encoder.latent_dim}, the text's is {text.latent_dim}; "
                "expected the same"
            )
        if lock not in ("image", "text", None):
            raise UserError(f"ContrastiveText: got lock '{lock}'; expected 'image', 'text' or none")
        if chunk is not None and any(isinstance(part, _BatchNorm) for part in (*encoder.modules(), *text.modules())):
            raise UserError(
                f"ContrastiveText.chunk: got {chunk}, and a batch norm would see each chunk for itself; expected "
                "chunk null, or an encoder and a text tower without one"
            )
        self.encoder, self.text, self.loss = encoder, text, loss
        self.sigreg, self.chunk, self.lock = sigreg, chunk, lock
        self.gaussianity = SIGReg()
        self.contrast = Contrast(loss)
        for part in self.frozen():
            part.requires_grad_(False)

    def frozen(self) -> list[nn.Module]:
        """The side that is locked."""
        locked: dict[str | None, list[nn.Module]] = {"image": [self.encoder], "text": [self.text.tower], None: []}
        return locked[self.lock]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss and the rate at which a picture finds its own caption in the batch."""
        pixels, captions = picture_and_caption(batch)
        latents = torch.cat(self._in_chunks(self.encoder.pooled, pixels, self.lock == "image"))
        sentences = torch.cat(self._in_chunks(self.text.text, captions, self.lock == "text"))
        images = self.text.image(latents[:, None])
        contrast = self.contrast(images, sentences)
        hit = (images @ sentences.T).argmax(dim=1) == torch.arange(len(images), device=images.device)
        terms = {"contrast": contrast, "accuracy": hit.float().mean()}
        if self.sigreg == 0:
            return {"loss": contrast, **terms}
        terms["sigreg"] = self.gaussianity(latents[None], batch["step"])
        return {"loss": contrast + self.sigreg * terms["sigreg"], **terms}

    def _in_chunks(self, encode: Callable[[Any], Tensor], items: Any, locked: bool) -> list[Tensor]:
        """What `encode` makes of pixels or sentences, chunk by chunk; without gradient where it is locked."""
        size = self.chunk or len(items)
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        with torch.no_grad() if locked else nullcontext():
            if self.chunk is None or locked:
                return [encode(chunk) for chunk in chunks]
            return [checkpoint(encode, chunk, use_reentrant=False) for chunk in chunks]

    def after_step(self, progress: float) -> None:
        """Keep the temperature within its bounds."""
        self.contrast.after_step()

    def exported(self) -> dict[str, nn.Module]:
        """The encoder and the text alignment."""
        return {"encoder": self.encoder, "text": self.text}


def picture_and_caption(batch: Batch) -> tuple[Tensor, list[str]]:
    """Pictures (B, C, H, W) and their captions; of clips, the frame whose turn it is at this step.

    Raises:
        UserError: if no picture has a caption.
    """
    pixels, captions = batch["pixels"], batch.get("captions", [])
    if pixels.ndim == 5:
        frame = batch["step"] % pixels.shape[1]
        pixels, captions = pixels[:, frame], [each[frame] for each in captions]
    if not any(captions):
        raise UserError(
            "ContrastiveText: got a batch without a single caption; expected shards with sentences (`txt` of images "
            "and clips, `captions` of episodes); pack them anew, or leave this objective out"
        )
    return pixels, captions
