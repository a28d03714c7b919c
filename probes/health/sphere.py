"""Latents on the unit sphere: how evenly they cover it, and how near those lie that mean the same."""

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes.checks import check_pair, check_rows

BLOCK = 1024


def uniformity(x: Tensor, t: float = 2.0) -> float:
    """log of the mean of exp(-t d²) over all pairs of rows of x (n, d) on the sphere: 0 where all coincide.

    Less is more even; -2 t is the limit for many dimensions, and below it only a few points far apart can be.

    Raises:
        UserError: x is not a finite matrix of at least 2 rows, or a row is zero.

    Source: Wang & Isola 2020 (arXiv 2005.10242), t = 2.
    """
    z = _on_sphere("x", x, least=2)
    n = len(z)
    # Each pair twice and each row with itself, whose distance is 0.
    total = sum(torch.exp(2 * t * (block @ z.T).clamp(-1, 1) - 2 * t).sum().item() for block in z.split(BLOCK))
    # Where all pairs are far apart rounding may leave nothing above the rows themselves.
    mean = max((total - n) / (n * (n - 1)), torch.finfo(torch.float64).tiny)
    return torch.tensor(mean, dtype=torch.float64).log().item()


def alignment(x: Tensor, y: Tensor) -> float:
    """Mean squared distance on the sphere of x (n, d) from y (n, d), row by row: 0 where they agree, at most 4.

    Raises:
        UserError: x and y are not finite matrices of one shape, or a row is zero.

    Source: Wang & Isola 2020 (arXiv 2005.10242), alpha = 2.
    """
    check_pair(x, y)
    if x.shape != y.shape:
        raise UserError(f"alignment: got x {tuple(x.shape)} and y {tuple(y.shape)}; expected two views of one width")
    return (_on_sphere("x", x) - _on_sphere("y", y)).square().sum(dim=1).mean().item()


def _on_sphere(name: str, x: Tensor, least: int = 1) -> Tensor:
    x = check_rows(name, x, least).detach().double()
    if not (x != 0).any(dim=1).all():
        row = int((x == 0).all(dim=1).nonzero()[0])
        raise UserError(f"{name}: row {row} is zero and has no direction; leave it out, or look why it is")
    return F.normalize(x, dim=1, eps=0.0)
