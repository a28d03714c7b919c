"""From how far an ensemble's members are apart, and how far they have gone, to how far off they are."""

import torch
from torch import Tensor, nn

from jepa_wm.errors import UserError

TINY = 1e-6
LEAST = 20
RIDGE = 1e-6


class Calibration(nn.Module):
    """A power law from signs of an error to the one to be expected, fitted on held-out episodes, saved with the model.

    Members that learned from the same batches agree more than they are right, and by how much differs between models;
    where much moves there is more to be wrong about. Until it is fitted, the spread is what is expected.
    """

    scale: Tensor
    powers: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("powers", torch.tensor([1.0, 0.0]))

    def fit(self, signs: Tensor, error: Tensor) -> None:
        """Fit the powers on logarithms, and the scale so that the mean square of what is expected is that of the error.

        Args:
            signs: of imagined latents, (..., 2), see `signs_of`.
            error: their root mean square error (...).

        Raises:
            UserError: if there are too few, one is no number, or the spread is the same everywhere.
        """
        signs, error = signs.double().flatten(0, -2), error.double().flatten()
        if not torch.isfinite(signs).all() or not torch.isfinite(error).all():
            raise UserError(
                "Calibration: got NaN or infinity in imagined latents; expected numbers: did training diverge?"
            )
        x, y = (values.clamp(min=TINY).log() for values in (signs, error))
        if len(x) < LEAST or x[:, 0].std() == 0:
            raise UserError(
                f"Calibration: got {len(x)} imagined latents with a spread of {signs[:, 0].mean():.2g} in all; "
                f"expected {LEAST} or more, and members that differ here more than there"
            )
        x, y = x - x.mean(dim=0), y - y.mean()
        # The ridge is for a sign that never varies. Less disagreement or motion never stands for more error.
        powers = torch.linalg.solve(x.T @ x + RIDGE * len(x) * torch.eye(2).to(x), x.T @ y).clamp(min=0)
        self.powers.copy_(powers)
        self.scale.copy_((error.square().mean() / _law(signs, powers).square().mean()).sqrt())

    def forward(self, signs: Tensor) -> Tensor:
        """Signs (..., 2) -> the root mean square error (...) that is to be expected."""
        return self.scale * _law(signs, self.powers)


def signs_of(members: Tensor, seen: Tensor) -> Tensor:
    """What tells of the error of imagined latents.

    Args:
        members: what each of M members imagines, (M, B, K, N, D).
        seen: the latents of the last frame that was seen, (B, N, D).

    Returns:
        How far the members are apart, and how far their mean is from what was seen: root mean squares, (B, K, 2).
    """
    moved = (members.mean(dim=0) - seen[:, None]).square().mean(dim=(-2, -1)).sqrt()
    return torch.stack([members.var(dim=0).mean(dim=(-2, -1)).sqrt(), moved], dim=-1)


def _law(signs: Tensor, powers: Tensor) -> Tensor:
    return signs.clamp(min=TINY).pow(powers).prod(dim=-1)
