"""Linear predictivity: how much of the second representation is a linear map of the first?"""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from probes.checks import check_pair
from probes.resampling import held_out_r2, null_of, spans
from probes.subspaces import check_rank, subspace

# Rows in another order make other blocks, so other fits.
INVARIANCES = frozenset({"rotation", "scale", "translation"})
SYMMETRIC = False


class Predictor(NamedTuple):
    """A prepared layer.

    Attributes:
        basis: of its centred features, (n, r).
        inverses: one for each block of m rows, (m, m): they turn residuals of one fit to all rows into those of
            the fit without the block.
        rows: its centred features (n, d), for when they are what is predicted.
    """

    basis: Tensor
    inverses: list[Tensor]
    rows: Tensor


def linear_predictivity(x: Tensor, y: Tensor) -> Score:
    """Held-out R² of y from x by least squares: each block of consecutive rows from a fit to the 19 others.

    It sums over the features of y, so those that vary much count much. Below 0 the mean of the rows that a fit has
    seen would predict better. The null is the mean over 10 permutations of the rows of y; the interval is the
    jackknife's over blocks, of predictions that stay as they are.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n above the rank of x by more than a twentieth.

    Raises:
        UserError: rows differ in number or are too few, a value is not finite, nothing varies, or a direction of x
            varies in one block only.

    Source: the linear regression of Kornblith et al. (arXiv 1905.00414, section 5), held out. Blocks are left out
    exactly, without refits, as in Allen's PRESS.
    """
    check_pair(x, y)
    a, b = prepare(x, "x"), subspace("y", y)
    target = b.basis @ b.loadings
    value, interval = held_out_r2(_errors(a, target), _errors_of_mean(target))
    null = null_of(lambda order: _r_squared(a, target[order]), len(x), draws=10)
    return Score(value, null, interval, len(x))


def prepare(x: Tensor, name: str = "x") -> Predictor:
    """What `compare` needs of x (n, d), made once a layer.

    Raises:
        UserError: as in `linear_predictivity`.
    """
    basis, loadings = subspace(name, x)
    check_rank(name, basis.shape[1], len(x), "use ridge_predictivity")
    inverses = []
    for span in spans(len(x)):
        # The share of its own value in a row's prediction, the intercept's 1 / n among it.
        leverage = basis[span] @ basis[span].T + 1 / len(x)
        values, vectors = torch.linalg.eigh(torch.eye(len(leverage), dtype=leverage.dtype) - leverage)
        if values[0] < 1e-10:
            raise UserError(
                f"{name}: a direction varies in rows {span.start} to {span.stop - 1} only, so the other rows cannot "
                "say what it predicts; shuffle the rows (by episode), or use ridge_predictivity"
            )
        inverses.append(vectors / values @ vectors.T)
    return Predictor(basis, inverses, basis @ loadings)


def compare(a: Predictor, b: Predictor) -> float:
    """Predictivity of b from a, two prepared layers of the same samples."""
    return _r_squared(a, b.rows)


def relabelled(a: Predictor, b: Predictor, order: Tensor) -> float:
    """Predictivity of y[order] from x, order (n,)."""
    return _r_squared(a, b.rows[order])


def _r_squared(a: Predictor, target: Tensor) -> float:
    return 1 - (_errors(a, target).sum() / _errors_of_mean(target).sum()).item()


def _errors(a: Predictor, target: Tensor) -> Tensor:
    """Squared errors (n,) of the fits to other blocks on each row of a centred target (n, k)."""
    residual = target - a.basis @ (a.basis.T @ target)
    blocks = zip(a.inverses, spans(len(target)), strict=True)
    return torch.cat([(inverse @ residual[span]).square().sum(dim=1) for inverse, span in blocks])


def _errors_of_mean(target: Tensor) -> Tensor:
    """Squared errors (n,) of the mean of the other blocks on each row of a centred target (n, k)."""
    moved = [target[span] + target[span].sum(dim=0) / (len(target) - len(target[span])) for span in spans(len(target))]
    return torch.cat(moved).square().sum(dim=1)
