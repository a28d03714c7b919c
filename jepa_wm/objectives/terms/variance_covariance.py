"""Latents that use every dimension for something else."""

from torch import Tensor

from jepa_wm import distributed
from jepa_wm.contracts import Batch, LatentTerm
from jepa_wm.losses.vicreg import centred, covariance_penalty, variance_hinge


class VarianceCovariance(LatentTerm):
    """Variance and covariance of the latents, of each frame's tokens over the batch of all ranks, and over time.

    Each place has statistics of its own, so that tokens cannot vary by saying where they are.

    Args:
        weight: factor in the loss.
        variance: weight of the variance over the batch.
        covariance: weight of the covariance over the batch.
        time_variance: weight of the variance over the frames of a clip; 0 leaves it out.
        time_covariance: weight of the covariance over the frames of a clip; 0 leaves it out.

    Source: PLDM (arXiv 2502.14819), as in the code of stable-worldmodel; weights of the best of the 256 runs in LeWM's
    Table 2 (arXiv 2603.19312), whose time_variance was .7. As there, the batch's mean of each frame is taken away
    before a clip is looked at over time, so that what all clips do alike is no variation; theirs leaves a clip's own
    mean in the covariances over time. eb_jepa's has the tokens of all frames and places as one set.
    """

    def __init__(
        self,
        weight: float = 1.0,
        variance: float = 18.0,
        covariance: float = 12.0,
        time_variance: float = 0.0,
        time_covariance: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight, self.variance, self.covariance = weight, variance, covariance
        self.time_variance, self.time_covariance = time_variance, time_covariance

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> Tensor:
        """See `LatentTerm`."""
        places = latents.flatten(1, 2).transpose(0, 1)
        loss = latents.new_zeros(())
        # What is left of held-out clips for the last batch may be one, which says nothing and must not end the run.
        if not self.training and places.shape[1] * distributed.world_size() == 1:
            return loss
        if self.variance:
            loss = loss + self.variance * variance_hinge(places)
        if self.covariance:
            loss = loss + self.covariance * covariance_penalty(places)
        paths = centred(places).transpose(0, 1).unflatten(1, latents.shape[1:3]).transpose(1, 2).flatten(0, 1)
        if self.time_variance:
            loss = loss + self.time_variance * variance_hinge(paths, over_ranks=False)
        if self.time_covariance:
            loss = loss + self.time_covariance * covariance_penalty(paths, over_ranks=False)
        return loss
