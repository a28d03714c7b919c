"""SIGReg: how far latents are from an isotropic Gaussian, along random directions."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from jepa_wm import distributed
from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32


class _Waves(torch.autograd.Function):
    """Means over samples x (V, slices, n) of cos(t x) and sin(t x), (V, slices, points) each.

    Each wave is the other's slope, so both are kept for the way back, where autograd would compute them again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        angles = x[..., None] * t
        cosine, sine = angles.cos(), angles.sin_()
        ctx.save_for_backward(cosine, sine, t)
        return cosine.mean(dim=2), sine.mean(dim=2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cosine_slope: Tensor, sine_slope: Tensor) -> tuple[Tensor, None]:
        cosine, sine, t = ctx.saved_tensors
        share = t / cosine.shape[2]
        rising, falling = cosine @ (sine_slope * share)[..., None], sine @ (cosine_slope * share)[..., None]
        return (rising - falling).squeeze(-1), None


class SIGReg(nn.Module):
    """Epps-Pulley statistic against N(0, 1), averaged over random unit directions.

    For each direction the empirical characteristic function is compared with exp(-t^2 / 2) at
    `points` values of t in [0, `t_max`]; trapezoid weights, doubled by symmetry, times a Gaussian
    window; times the number of samples over all ranks. It holds a few tensors of V * n * `slices` * `points` numbers.

    Args:
        slices: random directions, drawn anew for each step.
        points: values of t.
        t_max: largest t.

    Raises:
        UserError: if there are no slices or less than two points.

    Source: LeJEPA (arXiv 2511.08544) and its code. Here directions come from the step's number, not
    from a counter on the device (no host sync), and the means over ranks are differentiable.
    """

    t: Tensor
    weights: Tensor

    def __init__(self, slices: int = 256, points: int = 17, t_max: float = 3.0) -> None:
        super().__init__()
        if slices < 1 or points < 2:
            raise UserError(f"SIGReg: got slices {slices} and points {points}; expected 1 and 2 at least")
        self.slices, self.points, self.t_max = slices, points, t_max
        t = torch.linspace(0.0, t_max, points)
        dt = t_max / (points - 1)
        trapezoid = torch.full((points,), 2.0 * dt)
        trapezoid[[0, -1]] = dt
        self.register_buffer("t", t, persistent=False)
        self.register_buffer("weights", trapezoid * torch.exp(-t.square() / 2), persistent=False)

    def forward(self, x: Tensor, step: int) -> Tensor:
        """Samples x (V, n, D) -> the mean over V of each set's statistic; `step` seeds the directions."""
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_float32(x)
            t, weights = self.t.to(x), self.weights.to(x)
            projected = F.normalize(self.directions(x.shape[-1], step).to(x), dim=0).mT @ x.mT
            cosine, sine = map(distributed.all_reduce_mean, _Waves.apply(projected, t))
            error = (cosine - torch.exp(-t.square() / 2)).square() + sine.square()
            samples = x.shape[1] * distributed.world_size()
            return samples * (error @ weights).mean()

    def directions(self, width: int, step: int) -> Tensor:
        """The directions of a step (width, slices), of any length: the same on all ranks."""
        return torch.randn(width, self.slices, generator=torch.Generator().manual_seed(step))
