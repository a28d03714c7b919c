"""Collapse alarms: the loss of a joint-embedding method does not show collapse, its latents do."""

import torch
from torch import Tensor

from probes.checks import check_rows


def rankme(x: Tensor, eps: float = 1e-7) -> float:
    """Effective rank of x (n, d): exp of the entropy of its singular values, between 1 and min(n, d).

    Raises:
        UserError: x is not a finite matrix.

    Source: RankMe (arXiv 2210.02885), p = sigma / sum(sigma) + eps, x not centred. Here the result is
    capped at min(n, d), which eps alone would let it pass by some parts in ten thousand.
    """
    sigma = torch.linalg.svdvals(check_rows("x", x).detach().double())
    p = sigma / sigma.sum().clamp(min=torch.finfo(torch.float64).tiny) + eps
    return min(torch.exp(-(p * p.log()).sum()).item(), float(min(x.shape)))


def participation_ratio(x: Tensor) -> float:
    """Effective dimensions of x (n, d): (sum of variances)² / sum of variances², over principal axes.

    At most d; 0 where nothing varies. Unlike RankMe it is centred and barely feels the small axes.

    Raises:
        UserError: x is not a finite matrix.
    """
    x = check_rows("x", x).detach().double()
    variance = torch.linalg.svdvals(x - x.mean(dim=0)).square()
    total = variance.sum().item()
    return total**2 / variance.square().sum().item() if total > 0 else 0.0


def spread(x: Tensor) -> dict[str, float]:
    """Standard deviations over samples of the d dimensions of x (n, d): min, median, max, dead.

    `dead` is the share of dimensions at or below 1 % of the median; 1 where most do not vary at all.

    Raises:
        UserError: x is not a finite matrix of at least 2 rows.
    """
    std = check_rows("x", x, least=2).detach().double().std(dim=0)
    median = std.quantile(0.5).item()
    dead = (std <= 0.01 * median).double().mean().item()
    return {"min": std.min().item(), "median": median, "max": std.max().item(), "dead": dead}
