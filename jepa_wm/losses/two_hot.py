"""Numbers of any size as a choice among bins: two-hot over symlog."""

import torch
from torch import Tensor, nn

from jepa_wm.errors import UserError
from jepa_wm.losses.prototypes import cross_entropy
from jepa_wm.precision import at_least_float32


def symlog(x: Tensor) -> Tensor:
    """The logarithm of 1 + |x|, with the sign of x: close to x near 0."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


class TwoHot(nn.Module):
    """Cross-entropy to a number that is shared out between the two bins next to it.

    Args:
        bins: evenly spaced, on the symlog of the numbers.
        low: the first; smaller numbers count as it.
        high: the last; larger numbers count as it. At 10 that is 22,025.

    Raises:
        UserError: if there are fewer than two bins, or `low` is not below `high`.

    Source: DreamerV3 (arXiv 2301.04104) with the bins of TD-MPC2 (arXiv 2310.16828), which also reads a number off as
    the symexp of the expected bin.
    """

    centres: Tensor

    def __init__(self, bins: int = 101, low: float = -10.0, high: float = 10.0) -> None:
        super().__init__()
        if bins < 2 or low >= high:
            raise UserError(f"TwoHot: got {bins} bins from {low} to {high}; expected two at least, low below high")
        self.bins, self.low, self.high = bins, low, high
        self.register_buffer("centres", torch.linspace(low, high, bins), persistent=False)

    def forward(self, logits: Tensor, values: Tensor) -> Tensor:
        """Logits (..., bins) and the numbers that were to be told (...) -> the mean cross-entropy."""
        return cross_entropy(logits, self.encode(values), temperature=1.0).mean()

    def encode(self, values: Tensor) -> Tensor:
        """Numbers (...) -> shares of the bins (..., bins): of two at most, that sum to 1."""
        place = (symlog(values).clamp(self.low, self.high) - self.low) * ((self.bins - 1) / (self.high - self.low))
        distance = place[..., None] - torch.arange(self.bins, device=values.device)
        return (1.0 - distance.abs()).clamp(min=0.0)

    def decode(self, logits: Tensor) -> Tensor:
        """Logits (..., bins) -> numbers (...)."""
        # Not a matrix product, which would be done in bfloat16 under autocast.
        return symexp((at_least_float32(logits).softmax(dim=-1) * self.centres).sum(dim=-1))
