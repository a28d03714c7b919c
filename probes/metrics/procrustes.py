"""Procrustes: how well does one representation lie on the other after the best rotation?"""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.centring import centred
from probes.checks import check_pair
from probes.kernels import unit
from probes.resampling import interval_of, null_of
from probes.subspaces import narrowed

INVARIANCES = frozenset({"rotation", "scale", "translation", "permutation"})
SYMMETRIC = True


def procrustes(x: Tensor, y: Tensor) -> Score:
    """1 - d² / 2, d the distance of centred x and y of norm 1 after the best rotation: from 0 to 1.

    It is the nuclear norm of x'y, and grows with the width by chance: the null is the mean over 10 permutations of
    the rows. The interval is the jackknife's over 20 blocks of consecutive rows.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n at least 8.

    Raises:
        UserError: rows differ in number or are too few, a value is not finite, or nothing varies.

    Source: Ding et al. (arXiv 2108.01661), orthogonal Procrustes, d² = 2 - 2 ||x'y||_*. Others report d², its
    angle arccos(1 - d² / 2) (Williams et al., arXiv 2110.14739), or the residual of one direction.
    """
    check_pair(x, y)
    a, b = prepare(x, "x"), prepare(y, "y")
    value = compare(a, b)

    def refit(rows: Tensor) -> float:
        return compare(*(unit(part[rows] - part[rows].mean(dim=0)) for part in (a, b)))

    null = null_of(lambda order: relabelled(a, b, order), len(a), draws=10)
    return Score(value, null, interval_of(value, refit, len(a)), len(a))


def prepare(x: Tensor, name: str = "x") -> Tensor:
    """x (n, d) centred and of norm 1, in its principal axes (n, n) where d is above n; made once a layer.

    Raises:
        UserError: as in `procrustes`.
    """
    return narrowed(unit(centred(name, x)))


def compare(a: Tensor, b: Tensor) -> float:
    """Procrustes similarity of two prepared layers of the same samples."""
    return torch.linalg.svdvals(a.T @ b).sum().item()


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """Procrustes similarity of x and y[order], order (n,)."""
    return compare(a, b[order])
