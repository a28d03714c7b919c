"""From how far an ensemble's members are apart to how far off they are."""

import torch
from torch import Tensor, nn

from jepa_wm.errors import UserError

TINY = 1e-12
LEAST = 20


class Calibration(nn.Module):
    """A power law from disagreement to expected error, fitted on held-out episodes and saved with the model.

    Members that learned from the same batches agree more than they are right, and by how much differs between models;
    their order is what tells, and a power law keeps it.
    """

    scale: Tensor
    power: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("power", torch.ones(()))

    def fit(self, spread: Tensor, error: Tensor) -> None:
        """Fit the power on logarithms, and the scale so that the mean square of what is expected is that of the error.

        Args:
            spread: root mean square of the members about their mean, of any shape.
            error: root mean square error of their mean, of the same shape.

        Raises:
            UserError: if there are too few, they are not numbers, or the spread is the same everywhere.
        """
        spread, error = spread.double().flatten(), error.double().flatten()
        if not (torch.isfinite(spread).all() and torch.isfinite(error).all()):
            raise UserError(
                "Calibration: got NaN or infinity in imagined latents; expected numbers: did training diverge?"
            )
        x, y = (values.clamp(min=TINY).log() for values in (spread, error))
        if len(x) < LEAST or x.std() == 0:
            raise UserError(
                f"Calibration: got {len(x)} imagined latents with a spread of {x.exp().mean():.2g} in all; expected "
                f"{LEAST} or more, and members that differ here more than there"
            )
        # Less disagreement never stands for more error.
        power = ((x - x.mean()) * (y - y.mean())).mean().clamp(min=0) / x.var(correction=0)
        self.power.copy_(power)
        self.scale.copy_((error.square().mean() / spread.pow(2 * power).mean()).sqrt())

    def forward(self, spread: Tensor) -> Tensor:
        """Spread, of any shape -> the root mean square error that is to be expected."""
        return self.scale * spread.pow(self.power)


def spread_of(members: Tensor) -> Tensor:
    """How far members' latents (M, B, K, N, D) are apart (B, K): the root mean square about their mean."""
    return members.var(dim=0).mean(dim=(-2, -1)).sqrt()
