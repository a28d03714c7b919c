"""Contrastive text alignment: what do the words say?"""

import math

import torch
from open_clip.loss import ClipLoss
from torch import Tensor, nn

from jepa_wm import distributed
from jepa_wm.contracts import Batch, Objective
from jepa_wm.encoders.text import TextAlignment
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.losses.sigreg import SIGReg


class ContrastiveText(Objective):
    """Bring a frame's latent and its caption together, and apart from the batch's others (CLIP).

    One frame of each clip is used, another at each step, and goes through the encoder as an image.

    Args:
        encoder: the image side.
        text: the text side, with the head that reads the encoder's latents.
        sigreg: weight of SIGReg on the frames' latents, which spreads them over all dimensions; 0
            leaves it out.

    Raises:
        UserError: if encoder and text do not fit each other.

    Source: Radford et al. 2021 (arXiv 2103.00020), loss by open_clip (local loss, gathered with
    gradient over ranks). The temperature is kept within [0, ln 100] as there.
    """

    def __init__(self, encoder: ViT, text: TextAlignment, sigreg: float = 0.0) -> None:
        super().__init__()
        if encoder.latent_dim != text.latent_dim:
            raise UserError(
                f"ContrastiveText: the encoder's latent_dim is {encoder.latent_dim}, the text's is {text.latent_dim}; "
                "expected the same"
            )
        self.encoder, self.text, self.sigreg = encoder, text, sigreg
        self.gaussianity = SIGReg()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss and the rate at which a frame finds its own caption in the batch."""
        frame = batch["step"] % batch["pixels"].shape[1]
        latents = self.encoder.pool(self.encoder(batch["pixels"][:, frame]))
        images = self.text.image(latents[:, None])
        sentences = self.text.text([captions[frame] for captions in batch["captions"]])
        loss = ClipLoss(
            local_loss=True, gather_with_grad=True, rank=distributed.rank(), world_size=distributed.world_size()
        )
        scale = self.logit_scale.clamp(0.0, math.log(100.0)).exp()
        hit = (images @ sentences.T).argmax(dim=1) == torch.arange(len(images), device=images.device)
        terms = {"contrast": loss(images, sentences, scale), "accuracy": hit.float().mean()}
        if self.sigreg == 0:
            return {"loss": terms["contrast"], **terms}
        terms["sigreg"] = self.gaussianity(latents[None], batch["step"])
        return {"loss": terms["contrast"] + self.sigreg * terms["sigreg"], **terms}

    def exported(self) -> dict[str, nn.Module]:
        """The encoder and the text alignment."""
        return {"encoder": self.encoder, "text": self.text}
