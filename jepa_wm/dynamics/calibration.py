"""From how far an ensemble's members are apart, and from where they imagine themselves, to how far off they are."""

import math

import torch
from torch import Tensor, nn

from jepa_wm.errors import UserError

TINY = 1e-6
LEAST = 20
RIDGE = 1e-6
LAW = 2
"""Signs that the power law is of: how far members are apart, and how far they have gone."""
PENALTIES = (1e9, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Of the waves; the first leaves nothing but the law."""
FOLDS = 5


class Calibration(nn.Module):
    """The error to be expected: a power law of an ensemble's spread and way, times a smooth function of the latents.

    Members that learned from the same batches agree more than they are right, and by how much differs between models;
    where much moves there is more to be wrong about; and some scenes, such as an object that is about to be touched,
    are harder than others, whatever the members say. The function is a ridge regression of the law's remainder, in
    logarithms, on random waves of signs and latents; its penalty is chosen on clips left out, and where latents tell
    nothing it is nothing. It counts in full for the half of the latents that were nearest to their mean, and fades
    beyond them, where there is nothing to read it off: what is left is the law. Until all is fitted, the spread is what
    is expected.

    Args:
        latent_dim: width D of the latents.
        waves: random features F.

    Source: random features are Rahimi & Recht's (2007).
    """

    scale: Tensor
    powers: Tensor
    center: Tensor
    width: Tensor
    turns: Tensor
    phases: Tensor
    weights: Tensor
    middle: Tensor
    typical: Tensor

    def __init__(self, latent_dim: int, waves: int = 512) -> None:
        super().__init__()
        self.latent_dim, self.waves = latent_dim, waves
        signs, generator = LAW + 2 * latent_dim, torch.Generator().manual_seed(0)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("powers", torch.tensor([1.0, 0.0]))
        self.register_buffer("center", torch.zeros(signs))
        self.register_buffer("width", torch.ones(signs))
        self.register_buffer("turns", torch.randn(signs, waves, generator=generator) / signs**0.5)
        self.register_buffer("phases", 2 * math.pi * torch.rand(waves, generator=generator))
        self.register_buffer("weights", torch.zeros(waves))
        self.register_buffer("middle", torch.zeros(()))
        self.register_buffer("typical", torch.ones(()))

    def fit(self, signs: Tensor, error: Tensor) -> None:
        """Fit law and waves on logarithms, and the scale so that the mean square of what is expected is the error's.

        Args:
            signs: of imagined clips, (C, K, 2 + 2 D), see `signs_of`.
            error: their root mean square error (C, K).

        Raises:
            UserError: if there are too few, one is no number, or the spread is the same everywhere.
        """
        x, y = _numbers(signs), _numbers(error).clamp(min=TINY).log()
        if y.numel() < LEAST or x[..., 0].std() == 0:
            raise UserError(
                f"Calibration: got {y.numel()} imagined latents with a spread of {signs[..., 0].mean():.2g} in all; "
                f"expected {LEAST} or more, and members that differ here more than there"
            )
        x = _logs(x)
        law, y = x[..., :LAW] - x[..., :LAW].mean(dim=(0, 1)), y - y.mean()
        flat = law.flatten(0, 1)
        # The ridge is for a sign that never varies. Less disagreement or motion never stands for more error.
        square = flat.T @ flat + RIDGE * len(flat) * torch.eye(LAW).to(flat)
        powers = torch.linalg.solve(square, flat.T @ y.flatten()).clamp(min=0)
        self.powers.copy_(powers)
        self.center.copy_(x.mean(dim=(0, 1)))
        self.width.copy_(x.flatten(0, 1).std(dim=0).clamp(min=TINY))
        standard = self._standard(x)
        waves = self._waves(standard)
        self.weights.copy_(_remainder(waves, y - law @ powers))
        self.middle.copy_((waves @ self.weights.to(waves)).mean())
        self.typical.copy_(_strangeness(standard).median().clamp(min=TINY))
        self.rescale(signs, error)

    def rescale(self, signs: Tensor, error: Tensor) -> None:
        """Set the scale alone, on other clips than the rest was fitted on; see `fit`."""
        given, made = _numbers(signs), _numbers(error)
        self.scale.fill_(1)
        self.scale.copy_((made.square().mean() / self(given).square().mean()).sqrt())

    def forward(self, signs: Tensor) -> Tensor:
        """Signs (..., 2 + 2 D) -> the root mean square error (...) that is to be expected."""
        with torch.autocast(signs.device.type, enabled=False):
            logs = _logs(signs)
            law = logs[..., :LAW] @ self.powers.to(logs)
            standard = self._standard(logs)
            told = self._waves(standard) @ self.weights.to(logs) - self.middle
            trust = torch.exp(1 - (_strangeness(standard) / self.typical).clamp(min=1))
            return self.scale * torch.exp(law + trust * told)

    def _standard(self, logs: Tensor) -> Tensor:
        """Signs (..., 2 + 2 D), the first two as logarithms, about their means and in their widths."""
        return (logs - self.center.to(logs)) / self.width.to(logs)

    def _waves(self, standard: Tensor) -> Tensor:
        """Standard numbers (..., 2 + 2 D) -> waves (..., F)."""
        return torch.cos(standard @ self.turns.to(standard) + self.phases.to(standard))


def signs_of(members: Tensor, seen: Tensor) -> Tensor:
    """What tells of the error of imagined latents.

    Args:
        members: what each of M members imagines, (M, B, K, N, D).
        seen: the latents of the last frame that was seen, (B, N, D).

    Returns:
        How far the members are apart, and how far their mean is from what was seen, root mean squares; and what was
        seen and the members' mean themselves, means over the tokens: (B, K, 2 + 2 D).
    """
    mean = members.mean(dim=0)
    way = mean - seen[:, None]
    squares = torch.stack([members.var(dim=0).mean(dim=(-2, -1)), way.square().mean(dim=(-2, -1))], dim=-1)
    places = seen[:, None].expand_as(mean), mean
    return torch.cat([squares.sqrt(), *(place.mean(dim=-2) for place in places)], dim=-1)


def _strangeness(standard: Tensor) -> Tensor:
    """How far latents are from those that were fitted on: the mean square (...) of their standard numbers."""
    return standard[..., LAW:].square().mean(dim=-1)


def _logs(signs: Tensor) -> Tensor:
    """The first two signs as logarithms."""
    return torch.cat([signs[..., :LAW].clamp(min=TINY).log(), signs[..., LAW:]], dim=-1)


def _numbers(values: Tensor) -> Tensor:
    """The same in float64, if they are numbers."""
    if not torch.isfinite(values).all():
        raise UserError("Calibration: got NaN or infinity in imagined latents; expected numbers: did training diverge?")
    return values.double()


def _remainder(waves: Tensor, rest: Tensor) -> Tensor:
    """The weights (F,) of waves (C, K, F) in what the law leaves (C, K), by ridge; the penalty by clips left out."""
    waves = waves - waves.mean(dim=(0, 1))
    folds = torch.arange(len(waves)) % FOLDS
    parts = [(waves[folds == fold].flatten(0, 1), rest[folds == fold].flatten()) for fold in range(FOLDS)]
    squares, products = (torch.stack(each) for each in zip(*((a.T @ a, a.T @ b) for a, b in parts), strict=True))
    ridge = rest.numel() * torch.eye(waves.shape[-1]).to(waves)

    def solved(square: Tensor, product: Tensor, penalty: float) -> Tensor:
        return torch.linalg.solve(square + penalty * ridge, product)

    def left(penalty: float) -> float:
        others = (
            solved(squares.sum(dim=0) - square, products.sum(dim=0) - product, penalty)
            for square, product in zip(squares, products, strict=True)
        )
        return sum(float((b - a @ weights).square().sum()) for (a, b), weights in zip(parts, others, strict=True))

    return solved(squares.sum(dim=0), products.sum(dim=0), min(PENALTIES, key=left))
