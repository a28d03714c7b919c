"""Ridge predictivity: how much of the second representation a regularised linear map of the first gives."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.centring import centred
from probes.checks import check_pair
from probes.linear import ridge
from probes.resampling import held_out_r2, orders
from probes.subspaces import narrowed

# Rows in another order make other folds, so other fits.
INVARIANCES = frozenset({"rotation", "scale", "translation"})
SYMMETRIC = False

PENALTIES = tuple(10.0**exponent for exponent in range(-10, 4, 2))
"""In units of the mean eigenvalue of the Gram matrix; the lowest is least squares where that is well posed."""

FOLDS = 5


def ridge_predictivity(x: Tensor, y: Tensor) -> Score:
    """Held-out R² of y from x by ridge, each fifth of consecutive rows from a fit to the four others.

    Each fit chooses its penalty by four folds of its own rows. R², null and interval are as in
    `probes.metrics.linear_predictivity`, the null of 3 permutations; x may have more features than rows.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n at least 20.

    Raises:
        UserError: rows differ in number or are too few, a value is not finite, or nothing varies.
    """
    check_pair(x, y)
    a, b = prepare(x, "x"), prepare(y, "y")
    shuffled = [b[order] for order in orders(len(b), 3)]
    (errors, *of_shuffled), (of_mean, *of_means) = _errors(a, [b, *shuffled])
    value, interval = held_out_r2(errors, of_mean)
    null = sum(held_out_r2(*pair)[0] for pair in zip(of_shuffled, of_means, strict=True)) / len(shuffled)
    return Score(value, null, interval, len(b))


def prepare(x: Tensor, name: str = "x") -> Tensor:
    """x (n, d) centred, in float64, in its principal axes (n, n) where d is above n: made once a layer.

    Raises:
        UserError: as in `ridge_predictivity`.
    """
    return narrowed(centred(name, x, least=20))


def compare(a: Tensor, b: Tensor) -> float:
    """Predictivity of b from a, two prepared layers of the same samples."""
    errors, of_mean = _errors(a, [b])
    return held_out_r2(errors[0], of_mean[0])[0]


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """Predictivity of y[order] from x, order (n,): a fit, which does not become cheaper by preparation."""
    return compare(a, b[order])


def _errors(x: Tensor, targets: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Squared errors (t, n) of each row of t targets (n, k), of fits to the other folds and of those folds' mean."""
    errors = torch.empty(2, len(targets), len(x), dtype=x.dtype)
    every = torch.arange(len(targets))
    for held_out in torch.arange(len(x)).tensor_split(FOLDS):
        rows = _others(len(x), held_out)
        inner = [target[rows] for target in targets]
        tried = torch.zeros(len(PENALTIES), len(targets), dtype=x.dtype)
        for chosen_on in torch.arange(len(rows)).tensor_split(FOLDS - 1):
            tried += _fit(x[rows], inner, _others(len(rows), chosen_on), chosen_on)[0].sum(dim=-1)
        found, of_mean = _fit(x, targets, rows, held_out)
        errors[0][:, held_out] = found[tried.argmin(dim=0), every]
        errors[1][:, held_out] = of_mean
    return errors[0], errors[1]


def _fit(x: Tensor, targets: list[Tensor], train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Squared errors on test rows (m,) of t targets: (P, t, m) of P penalties, and (t, m) of the mean of train rows."""
    # Side by side, so that one factorisation serves all targets.
    y = torch.cat(targets, dim=1)
    center_x, center_y = x[train].mean(dim=0), y[train].mean(dim=0)
    weights = ridge(x[train] - center_x, y[train] - center_y, PENALTIES)
    moved = y[test] - center_y
    errors = torch.stack([moved - (x[test] - center_x) @ of_penalty for of_penalty in weights] + [moved])
    summed = errors.square().unflatten(2, (len(targets), -1)).sum(dim=-1).transpose(1, 2)
    return summed[:-1], summed[-1]


def _others(n: int, rows: Tensor) -> Tensor:
    """Those of n rows that are not `rows` (m,)."""
    stays = torch.ones(n, dtype=torch.bool)
    stays[rows] = False
    return stays.nonzero()[:, 0]
