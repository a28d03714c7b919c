"""What is still to be gained."""

import copy

import torch
from torch import Tensor

from jepa_wm.contracts import Batch
from jepa_wm.dynamics.heads.head import Head, reader, told, undecided
from jepa_wm.losses.two_hot import TwoHot
from jepa_wm.optim import ema_update


class ValueHead(Head):
    """Tell the discounted rewards that follow a frame, under whatever policy recorded the data.

    The target is the clip's own rewards from that frame on, and from its last frame on what a moving average of this
    head says of it. The last frame has no target. Where the batch has `ends`, nothing is added past an end.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame.
        discount: from one latent to the next; within a frame skip rewards are summed as they are.
        decay: of the moving average, an optimiser step.
        width: of the hidden layers.
        two_hot: the bins; those of TD-MPC2 if none are given.

    Source: two-hot and the moving average as TD-MPC2 (arXiv 2310.16828), which learns an ensemble of one-step action
    values of its own policy; here are a single head, returns of many steps, and no policy.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        tokens: int = 1,
        discount: float = 0.99,
        decay: float = 0.99,
        width: int = 256,
        two_hot: TwoHot | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.width = latent_dim, tokens, width
        self.discount, self.decay, self.two_hot = discount, decay, two_hot or TwoHot()
        self.read = undecided(reader(latent_dim, tokens, width, self.two_hot.bins))
        self.average = copy.deepcopy(self.read).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "ValueHead":
        """Set the mode of all but the moving average, which is never trained."""
        super().train(mode)
        self.average.eval()
        return self

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> values (...)."""
        return self.two_hot.decode(self.read(latents))

    def error(self, latents: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy to the returns of what all latents (B, T, N, D) but the last tell."""
        reward = told(batch, "reward", "ValueHead")
        with torch.no_grad():
            last = self.two_hot.decode(self.average(latents[:, -1]))
            going = 1.0 - batch["ends"] if "ends" in batch else torch.ones_like(reward)
            targets = returns(reward, self.discount * going, last)
        return self.two_hot(self.read(latents[:, :-1]), targets)

    def after_step(self, progress: float) -> None:
        """Let the moving average follow."""
        ema_update(self.average, self.read, self.decay)


def returns(reward: Tensor, discount: Tensor, last: Tensor) -> Tensor:
    """What is gained from each of T-1 frames on.

    Args:
        reward: that comes with the next frame, (B, T-1).
        discount: on what follows it, (B, T-1).
        last: what is gained from the last frame on, (B,).
    """
    found = []
    for gained, share in zip(reversed(reward.unbind(dim=1)), reversed(discount.unbind(dim=1)), strict=True):
        last = gained + share * last
        found.append(last)
    return torch.stack(found[::-1], dim=1)
