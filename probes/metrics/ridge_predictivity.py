"""Ridge predictivity: how much of the second representation a regularised linear map of the first gives."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.centring import centred
from probes.checks import check_pair
from probes.linear import ridge
from probes.resampling import interval_of, orders

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
    errors, *of_shuffled = _errors(a, [b, *shuffled])
    variation = b.square().sum(dim=1)

    def r_squared(rows: Tensor) -> float:
        return 1 - (errors[rows].sum() / variation[rows].sum()).item()

    value = r_squared(torch.arange(len(b)))
    null = 1 - (torch.stack(of_shuffled).sum(dim=1).mean() / variation.sum()).item()
    return Score(value, null, interval_of(value, r_squared, len(b)), len(b))


def prepare(x: Tensor, name: str = "x") -> Tensor:
    """x (n, d) centred, in float64.

    Raises:
        UserError: as in `ridge_predictivity`.
    """
    return centred(name, x, least=20)


def compare(a: Tensor, b: Tensor) -> float:
    """Predictivity of b from a, two prepared layers of the same samples."""
    return 1 - (_errors(a, [b])[0].sum() / b.square().sum()).item()


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """Predictivity of y[order] from x, order (n,): a fit, which does not become cheaper by preparation."""
    return compare(a, b[order])


def _errors(x: Tensor, targets: list[Tensor]) -> list[Tensor]:
    """The squared errors (n,) of each row of each target (n, k), predicted by fits to the other folds."""
    errors = torch.empty(len(targets), len(x), dtype=x.dtype)
    for held_out in torch.arange(len(x)).tensor_split(FOLDS):
        rows = _others(len(x), held_out)
        inner = [target[rows] for target in targets]
        tried = torch.zeros(len(PENALTIES), len(targets), dtype=x.dtype)
        for chosen_on in torch.arange(len(rows)).tensor_split(FOLDS - 1):
            tried += _fit(x[rows], inner, _others(len(rows), chosen_on), chosen_on).sum(dim=-1)
        found = _fit(x, targets, rows, held_out)
        errors[:, held_out] = found[tried.argmin(dim=0), torch.arange(len(targets))]
    return list(errors)


def _fit(x: Tensor, targets: list[Tensor], train: Tensor, test: Tensor) -> Tensor:
    """Squared errors (P, t, m) on test rows (m,) for P penalties and t targets, fitted to train rows."""
    # Side by side, so that one factorisation serves all targets.
    y = torch.cat(targets, dim=1)
    center_x, center_y = x[train].mean(dim=0), y[train].mean(dim=0)
    weights = ridge(x[train] - center_x, y[train] - center_y, PENALTIES)
    error = (x[test] - center_x) @ weights - (y[test] - center_y)
    return error.square().unflatten(2, (len(targets), -1)).sum(dim=-1).transpose(1, 2)


def _others(n: int, rows: Tensor) -> Tensor:
    """Those of n rows that are not `rows` (m,)."""
    stays = torch.ones(n, dtype=torch.bool)
    stays[rows] = False
    return stays.nonzero()[:, 0]
