"""Several captions or frames of an item: one row an item, or neighbours that may be any view of it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes.checks import check_rows
from probes.neighbours import neighbours


def pooled(x: Tensor, items: Tensor) -> Tensor:
    """One row an item: the mean of its rows, each scaled to norm 1 first so that none outweighs the others.

    The rows of two models then pair up by item, however many captions one has and frames the other.

    Args:
        x: views (m, d).
        items: of each view, integers (m,).

    Returns:
        (n, d), float64, in ascending order of the items.

    Raises:
        UserError: items do not name one item for each view, or the views of one cancel out.
    """
    check_rows("x", x)
    _check(items, len(x))
    values, index = items.unique(return_inverse=True)
    sums = torch.zeros(len(values), x.shape[1], dtype=torch.float64)
    sums.index_add_(0, index, F.normalize(x.detach().double(), dim=1))
    means = sums / index.bincount()[:, None]
    empty = means.norm(dim=1) < 1e-9
    if empty.any():
        raise UserError(f"item {values[empty][0]}: its views cancel out to a mean of 0; leave it out, or take one view")
    return means


def tolerant_overlap(x: Tensor, y: Tensor, items: Tensor, k: int = 10) -> tuple[float, float]:
    """Mutual kNN in which a neighbour may be any view of the item, or any member of the class, that the other names.

    Of a row's k neighbours in x and in y it counts what the two lists of labels share, with repetition, so that three
    neighbours of one class meet three of that class. Where each row is an item of its own it is mutual kNN. Rows of
    the query's own item are neighbours like others: pool them first if they are near by construction.

    Args:
        x, y: the same n rows, (n, dx) and (n, dy).
        items: the item or class of each row, integers (n,).
        k: neighbours.

    Returns:
        The value, and its expectation were the two lists of a row independent, each label as frequent as it is in that
        model's lists over all rows: a value above it is agreement about the row, and not about what is common.

    Raises:
        UserError: rows differ, or items do not name one for each row.
    """
    _check(items, len(x))
    if len(x) != len(y):
        raise UserError(f"x has {len(x)} rows and y has {len(y)}; expected the same rows")
    index = items.unique(return_inverse=True)[1]
    of_x, of_y = (_counts(index[neighbours(rows, k)], int(index.max()) + 1) for rows in (x, y))
    generator = torch.Generator().manual_seed(0)
    draws = [torch.minimum(of_x, of_y[torch.randperm(len(x), generator=generator)]).sum() for _ in range(50)]
    return (torch.minimum(of_x, of_y).sum() / (k * len(x))).item(), (
        torch.stack(draws).sum() / (50 * k * len(x))
    ).item()


def _counts(labels: Tensor, classes: int) -> Tensor:
    """How often each class is among the labels (n, k) of a row: float64 (n, classes)."""
    ones = torch.ones(labels.shape, dtype=torch.float64)
    return torch.zeros(len(labels), classes, dtype=torch.float64).scatter_add_(1, labels, ones)


def _check(items: Tensor, n: int) -> None:
    if items.shape != (n,):
        raise UserError(f"items: got shape {tuple(items.shape)}, expected the item of each of {n} rows, ({n},)")
