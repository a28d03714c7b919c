"""Whether an episode goes on."""

import torch.nn.functional as F
from torch import Tensor

from jepa_wm.contracts import Batch
from jepa_wm.dynamics.heads.head import Head, reader, told
from jepa_wm.precision import at_least_float32


class ContinueHead(Head):
    """Tell the probability that the episode goes on after a frame.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame.
        width: of the hidden layers.

    Source: DreamerV3 (arXiv 2301.04104). Batches need `ends` float32 (B, T-1), 1 where the frame that is reached is the
    episode's last and not for want of time. Shards that record it give it: those of `jepa-wm collect`, and of importers
    whose format tells.
    """

    def __init__(self, latent_dim: int = 64, tokens: int = 1, width: int = 256) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.width = latent_dim, tokens, width
        self.read = reader(latent_dim, tokens, width, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> probabilities (...)."""
        return at_least_float32(self.read(latents)).squeeze(-1).sigmoid()

    def error(self, latents: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy to whether the episode goes on of what all latents (B, T, N, D) but the first tell."""
        going = 1.0 - told(batch, "ends", "ContinueHead")
        return F.binary_cross_entropy_with_logits(at_least_float32(self.read(latents[:, 1:])).squeeze(-1), going)
