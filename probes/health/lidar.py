"""LiDAR: the rank of what tells samples apart, in units of what does not."""

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.checks import check_rows


def lidar(x: Tensor, delta: float = 1e-4, eps: float = 1e-7) -> float:
    """Effective rank of what tells the classes of x (classes, views, d) apart, between 1 and min(d, classes - 1).

    A class is one sample, seen in several views that ought to mean the same. A direction counts by how far the
    classes' means lie apart along it, in units of how far views of one class do: noise, which fills dimensions
    and deceives RankMe, does not.

    Args:
        x: latents.
        delta: added to the variance between views, in the latents' units squared.
        eps: added to each share of the eigenvalues.

    Raises:
        UserError: x is not finite, or has fewer than 2 classes or 2 views.

    Source: LiDAR (arXiv 2312.04000): eigenvalues of W^-1/2 B W^-1/2, p = lambda / sum(lambda) + eps. As in
    `rankme` the result is capped at the rank that is possible.
    """
    if x.ndim != 3 or min(x.shape[:2]) < 2:
        raise UserError(f"x: got shape {tuple(x.shape)}, expected (classes, views, d), at least 2 of both")
    classes, views, width = x.shape
    x = check_rows("x", x.flatten(0, 1)).detach().double().view(classes, views, width)
    means = x.mean(dim=1)
    apart, within = means - means.mean(dim=0), (x - means[:, None]).flatten(0, 1)
    between = apart.T @ apart / classes
    noise = within.T @ within / len(within) + delta * torch.eye(width, dtype=x.dtype, device=x.device)
    # With W = L L', L^-1 B L^-T has the eigenvalues of W^-1/2 B W^-1/2.
    factor = torch.linalg.cholesky(noise)
    half = torch.linalg.solve_triangular(factor, between, upper=False)
    whitened = torch.linalg.solve_triangular(factor, half.T, upper=False)
    values = torch.linalg.eigvalsh((whitened + whitened.T) / 2).clamp(min=0)
    p = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + eps
    return min(max(torch.exp(-(p * p.log()).sum()).item(), 1.0), float(min(width, classes - 1)))
