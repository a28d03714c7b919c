"""Latents that change slowly."""

from torch import Tensor

from jepa_wm.contracts import Batch, LatentTerm


class TimeSimilarity(LatentTerm):
    """Mean squared difference of consecutive latents.

    Args:
        weight: factor in the loss.

    Source: PLDM (arXiv 2502.14819); weight of the best of the 256 runs in LeWM's Table 2 (arXiv 2603.19312).
    """

    def __init__(self, weight: float = 0.2) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> Tensor:
        """See `LatentTerm`."""
        return latents.diff(dim=1).square().mean()
