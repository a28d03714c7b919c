"""PWCCA: CCA whose directions count by how much of the first representation they carry."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.checks import check_pair
from probes.resampling import interval, null_of
from probes.subspaces import Subspace, check_rank, crossed_refits, subspace

# Weights are sums of absolute values over the features of x, which a rotation of x changes.
INVARIANCES = frozenset({"scale", "translation", "permutation"})
SYMMETRIC = False


def pwcca(x: Tensor, y: Tensor) -> Score:
    """Canonical correlations averaged with weights: how much the features of x project on each direction of x.

    Null and interval are made as in `probes.metrics.cca`.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n above the ranks by more than a twentieth.

    Raises:
        UserError: as in `probes.metrics.cca.cca`.

    Source: Morcos et al. (arXiv 1806.05759). Weights are of x always; published code takes those of the
    representation with fewer features, which makes the value jump where widths cross.
    """
    check_pair(x, y)
    a, b = prepare(x, "x"), prepare(y, "y")
    value = compare(a, b)
    # With the covariance of the basis F F', the features in the basis made orthonormal again are F' loadings.
    refits = [_weighted(crossed, factor.T @ a.loadings) for crossed, factor in crossed_refits(a.basis, b.basis)]
    null = null_of(lambda order: relabelled(a, b, order), len(x), draws=10)
    return Score(value, null, interval(value, refits), len(x))


def prepare(x: Tensor, name: str = "x") -> Subspace:
    """The subspace of x (n, d), made once a layer.

    Raises:
        UserError: as in `pwcca`.
    """
    space = subspace(name, x)
    check_rank(name, len(space.loadings), len(x), "use svcca or cka")
    return space


def compare(a: Subspace, b: Subspace) -> float:
    """PWCCA of two prepared layers of the same samples."""
    return _weighted(a.basis.T @ b.basis, a.loadings)


def relabelled(a: Subspace, b: Subspace, order: Tensor) -> float:
    """PWCCA of x and y[order], order (n,)."""
    return _weighted(a.basis.T @ b.basis[order], a.loadings)


def _weighted(crossed: Tensor, loadings: Tensor) -> float:
    """The mean of the singular values of `crossed` (r, s), weighted by loadings (r, d) of its left vectors."""
    left, sigma, _ = torch.linalg.svd(crossed, full_matrices=False)
    weights = (left.T @ loadings).abs().sum(dim=1)
    return (weights @ sigma.clamp(max=1) / weights.sum()).item()
