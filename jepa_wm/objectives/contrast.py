"""The contrast of pictures and sentences: CLIP's and SigLIP's losses."""

import math
from typing import Literal

import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor, nn

from jepa_wm import distributed
from jepa_wm.errors import UserError

LOSSES = ("clip", "siglip")


class Contrast(nn.Module):
    """Each picture belongs to its own sentence of the batch, gathered over ranks, and to no other.

    Args:
        loss: "clip" (softmax over the batch) or "siglip" (a sigmoid for each pair).

    Raises:
        UserError: if the loss is unknown.

    Source: CLIP (arXiv 2103.00020) and SigLIP (arXiv 2303.15343), by open_clip, whose bounds of the temperature,
    [0, ln 100], are kept too.
    """

    def __init__(self, loss: Literal["clip", "siglip"] = "clip") -> None:
        super().__init__()
        if loss not in LOSSES:
            raise UserError(f"contrast: got loss '{loss}'; expected one of {', '.join(LOSSES)}")
        self.loss = loss
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07) if loss == "clip" else math.log(10.0)))
        self.logit_bias = nn.Parameter(torch.tensor(-10.0)) if loss == "siglip" else None

    def forward(self, images: Tensor, sentences: Tensor) -> Tensor:
        """The loss of unit vectors (B, D) of pictures and of the sentences that belong to them."""
        rank, world = distributed.rank(), distributed.world_size()
        scale = self.logit_scale.exp()
        if self.loss == "siglip":
            return SigLipLoss(rank=rank, world_size=world)(images, sentences, scale, self.logit_bias)
        return ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=world)(images, sentences, scale)

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature within its bounds."""
        self.logit_scale.clamp_(0.0, math.log(100.0))
