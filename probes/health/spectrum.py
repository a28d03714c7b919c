"""Collapse seen in the spectrum: over how many principal axes latents are spread, and how fast it falls."""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.checks import check_rows

WINDOW = (11, 50)
"""Eigenvalues, counted from 1, that `alpha_req` fits where there are as many."""


class PowerLaw(NamedTuple):
    """Eigenvalues that fall as index^-alpha.

    Attributes:
        alpha: the exponent; 0 where all are equal.
        first: the first eigenvalue of the fit, counted from 1.
        last: the last of them.
        r2: the share of the variance of the log eigenvalues in the window that the line explains.
    """

    alpha: float
    first: int
    last: int
    r2: float


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


def effective_rank(x: Tensor) -> float:
    """exp of the entropy of the eigenvalues of the covariance of x (n, d), as shares of their sum; at most d.

    Unlike RankMe it is centred, and of variances, not of singular values, so that small axes count less. 0 where
    nothing varies.

    Raises:
        UserError: x is not a finite matrix of at least 2 rows.

    Source: Roy & Vetterli 2007, of the covariance's spectrum in place of the matrix' own.
    """
    p = eigenvalues(x)
    total = p.sum().item()
    return torch.exp(torch.special.entr(p / total).sum()).item() if total > 0 else 0.0


def participation_ratio(x: Tensor) -> float:
    """Effective dimensions of x (n, d): (sum of variances)² / sum of variances², over principal axes.

    At most d; 0 where nothing varies. Unlike RankMe it is centred and barely feels the small axes.

    Raises:
        UserError: x is not a finite matrix.
    """
    variance = eigenvalues(x, least=1)
    total = variance.sum().item()
    return total**2 / variance.square().sum().item() if total > 0 else 0.0


def nesum(x: Tensor) -> float:
    """Sum of the eigenvalues of the covariance of x (n, d), in units of the largest: 1 to d; 0 where nothing varies.

    Raises:
        UserError: x is not a finite matrix of at least 2 rows.

    Source: NESum (He & Ozay 2022).
    """
    variance = eigenvalues(x)
    return (variance.sum() / variance[0]).item() if variance[0] > 0 else 0.0


def alpha_req(x: Tensor, window: tuple[int, int] | None = None) -> PowerLaw:
    """How fast the eigenvalues of the covariance of x (n, d) fall: the slope of a line through their logarithms.

    The line is fitted by least squares to log eigenvalue against log index; an index i has the weight 1 / i, so that
    each octave counts alike. About 1 is said to serve best: more is collapse, less is noise.

    Args:
        x: latents.
        window: first and last eigenvalue of the fit, counted from 1. If none is given it is `WINDOW`, cut where
            eigenvalues are rounding errors; all of them where less than ten of the window are left.

    Raises:
        UserError: x is not a finite matrix of at least 2 rows, or fewer than 3 eigenvalues of the window differ from 0.

    Source: alpha-ReQ (Agrawal et al. 2022), with the weights of its fit, which is Stringer et al.'s (2019). The
    window differs between papers, and the exponent with it: it belongs to the answer.
    """
    values = eigenvalues(x)
    positive = int((values > 1e-10 * values[0]).sum())
    first, last = window or WINDOW
    last = min(last, positive)
    if window is None and last - first < 9:
        first = 1
    if first < 1 or last - first < 2:
        raise UserError(
            f"alpha_req: got {positive} eigenvalues above rounding and the window {window or WINDOW}; expected at "
            "least 3 of them in it, counted from 1"
        )
    index = torch.arange(first, last + 1, dtype=values.dtype)
    u, v, weight = index.log(), values[first - 1 : last].log(), index.reciprocal() / index.reciprocal().sum()
    u, v = u - weight @ u, v - weight @ v
    slope = (weight * u) @ v / ((weight * u) @ u)
    left, all_of_it = (weight @ part.square() for part in (v - slope * u, v))
    r2 = 1 - (left / all_of_it).item() if all_of_it > 0 else 1.0
    return PowerLaw(-slope.item(), first, last, r2)


def eigenvalues(x: Tensor, least: int = 2) -> Tensor:
    """Eigenvalues (min(n, d),) of the covariance of x (n, d), times n, the largest first."""
    x = check_rows("x", x, least).detach().double()
    return torch.linalg.svdvals(x - x.mean(dim=0)).square()
