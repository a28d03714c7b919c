"""What the last step gained."""

from torch import Tensor

from jepa_wm.contracts import Batch
from jepa_wm.dynamics.heads.head import Head, reader, told, undecided
from jepa_wm.losses.two_hot import TwoHot


class RewardHead(Head):
    """Tell the reward that came with a frame, summed over the steps since the one before.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame.
        width: of the hidden layers.
        two_hot: the bins; those of TD-MPC2 if none are given.

    Source: two-hot over symlog as DreamerV3 and TD-MPC2, whose first answer is 0, too. TD-MPC2's reads latent and
    action; this one reads the latent that they led to, so that what is imagined needs no action beside it.
    """

    def __init__(self, latent_dim: int = 64, tokens: int = 1, width: int = 256, two_hot: TwoHot | None = None) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.width = latent_dim, tokens, width
        self.two_hot = two_hot or TwoHot()
        self.read = undecided(reader(latent_dim, tokens, width, self.two_hot.bins))

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> rewards (...)."""
        return self.two_hot.decode(self.read(latents))

    def error(self, latents: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy to the rewards (B, T-1) of what all latents (B, T, N, D) but the first tell."""
        return self.two_hot(self.read(latents[:, 1:]), told(batch, "reward", "RewardHead"))
