"""CCA: how much of two representations is linearly the same, every direction counting alike?"""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.checks import check_pair
from probes.resampling import interval, null_of
from probes.subspaces import check_rank, correlations, crossed_refits, subspace

INVARIANCES = frozenset({"rotation", "scale", "translation", "permutation"})
SYMMETRIC = True


def cca(x: Tensor, y: Tensor) -> Score:
    """Mean canonical correlation, over as many as the lower of the two ranks.

    Any invertible linear map of x or y leaves it unchanged, so directions of noise count like all others. It is
    inflated where n is not well above the ranks, and 1 where it is not above: such input is refused. The null is
    the mean over 10 permutations of the rows, the interval the jackknife's over 20 blocks of consecutive rows.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n above the ranks by more than a twentieth.

    Raises:
        UserError: rows differ in number or are too few, a value is not finite, nothing varies, or a direction
            varies in one block only.

    Source: Hotelling (Biometrika 1936), by the singular values of the product of two orthonormal bases (Bjorck
    and Golub 1973), without the ridge of published codes: what is rank-deficient is cut at its rank.
    """
    check_pair(x, y)
    a, b = prepare(x, "x"), prepare(y, "y")
    value = compare(a, b)
    refits = [torch.linalg.svdvals(crossed).mean().item() for crossed, _ in crossed_refits(a, b)]
    null = null_of(lambda order: relabelled(a, b, order), len(a), draws=10)
    return Score(value, null, interval(value, refits), len(a))


def prepare(x: Tensor, name: str = "x") -> Tensor:
    """An orthonormal basis (n, r) of the centred columns of x (n, d), made once a layer.

    Raises:
        UserError: as in `cca`.
    """
    basis = subspace(name, x).basis
    check_rank(name, basis.shape[1], len(x), "use svcca or cka")
    return basis


def compare(a: Tensor, b: Tensor) -> float:
    """CCA of two prepared layers of the same samples."""
    return correlations(a, b).mean().item()


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """CCA of x and y[order], order (n,)."""
    return compare(a, b[order])
