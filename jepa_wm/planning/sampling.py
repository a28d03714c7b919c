"""Candidates around a mean, the best of them, and what is fitted to these."""

from collections.abc import Callable

import torch
from torch import Tensor

from jepa_wm.contracts import Generators


def drawn(draw: Callable[..., Tensor], samples: int, mean: Tensor, generator: Generators) -> Tensor:
    """Random numbers for means (E, K, A), as torch.randn or torch.rand draws them.

    Returns:
        (1, S, K, A) where all environments share a generator, else (E, S, K, A), alike of those that share one. So an
        environment's plan does not depend on the batch that it is planned in.
    """
    each = [generator] if isinstance(generator, torch.Generator) else generator
    numbers = {own: draw(samples, *mean.shape[1:], generator=own) for own in dict.fromkeys(each)}
    return torch.stack([numbers[own] for own in each]).to(mean)


def white(samples: int, mean: Tensor, generator: Generators) -> Tensor:
    """Standard normal noise for means (E, K, A), as `drawn` gives it."""
    return drawn(torch.randn, samples, mean, generator)


def around(mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
    """The mean (E, K, A), then a candidate for each noise (1 or E, S - 1, K, A): (E, S, K, A), bounds unheeded."""
    return torch.cat([mean[:, None], mean[:, None] + std[:, None] * noise], dim=1)


def gaussian(mean: Tensor, std: Tensor, samples: int, generator: Generators) -> Tensor:
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
