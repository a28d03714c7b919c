"""SVCCA: do the leading principal components of two representations span the same subspace?"""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.checks import check_pair
from probes.resampling import interval_of, null_of
from probes.subspaces import Subspace, check_rank, correlations, subspace

INVARIANCES = frozenset({"rotation", "scale", "translation", "permutation"})
SYMMETRIC = True


def svcca(x: Tensor, y: Tensor, k: int = 10) -> Score:
    """Mean canonical correlation of the k leading principal components of x and of y.

    Fewer components are taken where a representation has a lower rank; the mean is over the lower number. The null
    is the mean over 20 permutations of the rows. The interval is the jackknife's over 20 blocks of consecutive
    rows, whose components are sought among the 5 k leading ones of all rows.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n above k by more than a twentieth.
        k: components.

    Raises:
        UserError: rows differ in number or are too few, a value is not finite, or nothing varies.

    Source: Raghu et al. (arXiv 1706.05806), whose components hold 99 % of the variance. That with k = 10 is of
    Huh et al. (arXiv 2405.07987), whose code standardises each feature and draws its components at random; here
    features are centred, the decomposition is exact, and so the value is the same in every run.
    """
    check_pair(x, y)
    of_x, of_y = subspace("x", x), subspace("y", y)
    a, b = _checked("x", of_x, k), _checked("y", of_y, k)
    value = compare(a, b)
    leading = [space.basis[:, : 5 * k] * space.loadings[: 5 * k].norm(dim=1) for space in (of_x, of_y)]

    def refit(rows: Tensor) -> float:
        return compare(*(_components(part[rows], k) for part in leading))

    null = null_of(lambda order: relabelled(a, b, order), len(x))
    return Score(value, null, interval_of(value, refit, len(x)), len(x))


def prepare(x: Tensor, k: int = 10, name: str = "x") -> Tensor:
    """The k leading components (n, k) of x (n, d), orthonormal; made once a layer.

    Raises:
        UserError: as in `svcca`.
    """
    return _checked(name, subspace(name, x), k)


def compare(a: Tensor, b: Tensor) -> float:
    """SVCCA of two prepared layers of the same samples."""
    return correlations(a, b).mean().item()


def relabelled(a: Tensor, b: Tensor, order: Tensor) -> float:
    """SVCCA of x and y[order], order (n,)."""
    return compare(a, b[order])


def _checked(name: str, space: Subspace, k: int) -> Tensor:
    basis = space.basis[:, :k]
    check_rank(name, basis.shape[1], len(basis), "use a smaller k")
    return basis


def _components(rows: Tensor, k: int) -> Tensor:
    """The k leading components (n, k) of rows (n, p)."""
    return torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False).U[:, :k]
