"""The subspaces of sample space that representations span, which is all that CCA compares."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.centring import centred
from probes.resampling import BLOCKS, spans


class Subspace(NamedTuple):
    """Centred features (n, d) as `basis @ loadings`.

    Attributes:
        basis: principal components whitened, orthonormal columns (n, r), r the rank of the features.
        loadings: (r, d).
    """

    basis: Tensor
    loadings: Tensor


def subspace(name: str, x: Tensor) -> Subspace:
    """All that varies in x (n, d), up to the rounding of its float type.

    Raises:
        UserError: rows are too few, a value is not finite, or nothing varies.
    """
    rows = centred(name, x)
    u, sigma, vh = torch.linalg.svd(rows, full_matrices=False)
    rank = int((sigma > sigma[0] * max(x.shape) * torch.finfo(x.dtype).eps).sum())
    return Subspace(u[:, :rank], sigma[:rank, None] * vh[:rank])


def narrowed(rows: Tensor) -> Tensor:
    """Centred rows (n, d) in their principal axes (n, n) where d is above n: a rotation of the same rows."""
    if rows.shape[1] <= len(rows):
        return rows
    u, sigma, _ = torch.linalg.svd(rows, full_matrices=False)
    return u * sigma


def check_rank(name: str, rank: int, n: int, instead: str) -> None:
    """Ask that n rows still determine `rank` directions when a block of the jackknife is left out.

    Raises:
        UserError: they do not; `instead` says what to do.
    """
    least = rank + 2 + math.ceil(n / BLOCKS)
    if n < least:
        raise UserError(
            f"{name}: its features span {rank} dimensions over {n} rows, so that any representation is a linear map "
            f"of them; expected at least {least} rows. Take more samples (ten a dimension is a good rule) or {instead}"
        )


def correlations(u: Tensor, v: Tensor) -> Tensor:
    """The canonical correlations (min(r, s),) of two bases, (n, r) and (n, s), the largest first."""
    return torch.linalg.svdvals(u.T @ v).clamp(max=1)


def crossed_refits(u: Tensor, v: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For each block left out: u'v (r, s) of the bases made orthonormal again, and the factor (r, r) that u took.

    Raises:
        UserError: a direction varies in one block only.
    """
    whole = u.T @ v
    for span in spans(len(u)):
        kept = len(u) - (span.stop - span.start)
        factors, means = [], []
        for name, basis in (("x", u), ("y", v)):
            block = basis[span]
            mean = -block.sum(dim=0) / kept
            covariance = -block.T @ block - kept * torch.outer(mean, mean)
            covariance.diagonal().add_(1)
            factor, failed = torch.linalg.cholesky_ex(covariance)
            if failed or factor.diagonal().min() < 1e-6:
                raise UserError(
                    f"{name}: a direction varies in rows {span.start} to {span.stop - 1} only, so its correlation "
                    "rests on them alone; shuffle the rows (by episode) or leave that feature out"
                )
            factors.append(factor)
            means.append(mean)
        crossed = whole - u[span].T @ v[span] - kept * torch.outer(*means)
        half = torch.linalg.solve_triangular(factors[0], crossed, upper=False)
        yield torch.linalg.solve_triangular(factors[1], half.T, upper=False).T, factors[0]
