"""Biased CKA: the linear CKA of most papers, whose chance level grows with the width."""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes import kernels
from probes.centring import centred
from probes.checks import check_pair
from probes.hsic import biased, jackknifed

INVARIANCES = frozenset({"rotation", "scale", "translation", "permutation"})
SYMMETRIC = True


class Features(NamedTuple):
    """Centred rows (n, d) whose covariance has the norm 1, for more samples than a matrix (n, n) is made of."""

    rows: Tensor


def cka_biased(x: Tensor, y: Tensor) -> Score:
    """Linear CKA from the biased HSIC: the squared norm of the cross-covariance over those of the covariances.

    The null is exact, sqrt(PR_x PR_y) / (n - 1) with PR the participation ratio of the covariance: wide
    representations of few samples look alike by it. `probes.metrics.cka` has not this fault.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n at least 8.

    Raises:
        UserError: rows differ in number or are too few, a value is not finite, or nothing varies.

    Source: Kornblith et al. (arXiv 1905.00414). The interval is that of `probes.metrics.cka`. The null is the
    mean over all permutations of the rows of y, from the traces of the two covariances.
    """
    check_pair(x, y)
    x, y = centred("x", x), centred("y", y)
    value, interval = jackknifed(x, y, biased)
    null = (_participation(x) * _participation(y)) ** 0.5 / (len(x) - 1)
    return Score(value, null, interval, len(x))


def prepare(x: Tensor) -> Tensor | Features:
    """What `compare` needs of x (n, d), made once a layer: a matrix (n, n), or features where n is large.

    Raises:
        UserError: as in `cka_biased`.
    """
    x = centred("x", x)
    if len(x) <= kernels.ROWS:
        return kernels.unit(x @ x.T)
    return Features(x / (x.T @ x).norm().sqrt())


def compare(a: Tensor | Features, b: Tensor | Features) -> float:
    """Biased CKA of two prepared layers of the same samples."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return kernels.inner(a, b)
    assert isinstance(a, Features) and isinstance(b, Features)
    return (a.rows.T @ b.rows).square().sum().item()


def reordered(b: Tensor | Features, order: Tensor) -> Tensor | Features:
    """The prepared layer whose samples are order (n,): reorder once, then compare with many."""
    return kernels.reordered(b, order) if isinstance(b, Tensor) else Features(b.rows[order])


def relabelled(a: Tensor | Features, b: Tensor | Features, order: Tensor) -> float:
    """Biased CKA of x and y[order], order (n,)."""
    return compare(a, reordered(b, order))


def _participation(x: Tensor) -> float:
    """The participation ratio of centred x (n, d), without its spectrum."""
    smaller = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    return (torch.trace(smaller) / smaller.norm()).square().item()
