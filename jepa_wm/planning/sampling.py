"""Candidates around a mean, the best of them, and what is fitted to these."""

import torch
from torch import Tensor


def white(samples: int, mean: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise (S, K, A) for means (E, K, A).

    All environments share it, so an environment's plan does not depend on the batch that it is planned in.
    """
    return torch.randn(samples, *mean.shape[1:], generator=generator).to(mean)


def around(mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
    """The mean (E, K, A) itself, then a candidate for each noise (S - 1, K, A): (E, S, K, A), bounds unheeded."""
    return torch.cat([mean[:, None], mean[:, None] + std[:, None] * noise], dim=1)


def gaussian(mean: Tensor, std: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """The mean (E, K, A) itself, then `samples` - 1 candidates around it: (E, S, K, A), bounds unheeded."""
    return around(mean, std, white(samples - 1, mean, generator))


def lowest(candidates: Tensor, costs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` cheapest of candidates (E, S, K, A), or all if there are fewer, and their costs; cheapest first."""
    found, order = costs.topk(min(count, costs.shape[1]), dim=1, largest=False)
    return candidates[torch.arange(len(costs), device=costs.device)[:, None], order], found


def fit(candidates: Tensor, weights: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the spread (E, K, A) of candidates (E, S, K, A) with weights (E, S); the old where none weighs.

    The spread is not biased: over n it would shrink by itself, of 30 elites in 30 rounds by two fifths. Of weights
    that differ n is as many as would be as good alike (Kish), and at least two.
    """
    total = weights.sum(dim=1)
    shares = (weights / torch.where(total > 0, total, 1)[:, None])[..., None, None]
    found = (shares * candidates).sum(dim=1)
    lost = shares.square().sum(dim=1).clamp(max=0.5)
    spread = ((shares * (candidates - found[:, None]).square()).sum(dim=1) / (1 - lost)).sqrt()
    heard = (total > 0)[:, None, None]
    return torch.where(heard, found, mean), torch.where(heard, spread, std)


def mean_cost(costs: Tensor) -> Tensor:
    """The mean (E,) of those costs (E, S) that are finite; NaN where none is."""
    return costs.where(costs.isfinite(), torch.nan).nanmean(dim=1)
