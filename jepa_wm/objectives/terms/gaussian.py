"""Latents that are Gaussian over the batch."""

from torch import Tensor

from jepa_wm.contracts import Batch, LatentTerm
from jepa_wm.losses.sigreg import SIGReg


class GaussianLatents(LatentTerm):
    """SIGReg on the latents, frame by frame over the batch of all ranks; a frame's tokens are one vector.

    Args:
        weight: factor in the loss.
        slices: SIGReg's random directions.

    Source: LeWM (arXiv 2603.19312), with weight .09 and 1024 directions in its code, .1 in the paper.
    """

    def __init__(self, weight: float = 0.05, slices: int = 256) -> None:
        super().__init__()
        self.weight, self.slices = weight, slices
        self.gaussianity = SIGReg(slices)

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> Tensor:
        """See `LatentTerm`."""
        return self.gaussianity(latents.flatten(2).transpose(0, 1), batch["step"])
