"""Latents that go straight ahead."""

from torch import Tensor

from jepa_wm.contracts import Batch, LatentTerm
from jepa_wm.losses.straightness import curvature


class Straightening(LatentTerm):
    """How sharply the path of the latents bends from frame to frame; a frame's tokens are one vector.

    Args:
        weight: factor in the loss.

    Source: temporal straightening (arXiv 2603.12231): all latents have gradient here, while the target of their
    prediction has none, which is the objective's to see to.
    """

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> Tensor:
        """See `LatentTerm`."""
        return curvature(latents.flatten(2))
