"""RBF CKA: do two representations agree on who is near whom, by a Gaussian of the distance?"""

from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from probes import kernels
from probes.centring import centred
from probes.checks import check_pair
from probes.kernels import inner as compare
from probes.kernels import relabelled, reordered
from probes.resampling import interval_of

__all__ = ["cka_rbf", "compare", "prepare", "relabelled", "reordered"]

INVARIANCES = frozenset({"rotation", "scale", "translation", "permutation"})
SYMMETRIC = True

LIMIT = 4096
"""Samples; the kernel matrices of more would fill the memory."""


def cka_rbf(x: Tensor, y: Tensor, bandwidth: float = 1.0, biased: bool = False) -> Score:
    """CKA of Gaussian kernels, exp(-distance² / (2 sigma²)), from the unbiased HSIC.

    A wide bandwidth makes it the linear CKA, a narrow one looks at near neighbours alone. The interval is the
    jackknife's over 20 blocks of consecutive rows, sigma staying that of all rows.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n from 8 to 4096.
        bandwidth: sigma in units of the median distance between two samples.
        biased: take the biased HSIC; its null is not 0 but that of all permutations, in closed form.

    Raises:
        UserError: rows differ in number, are too few or too many, a value is not finite, nothing varies, or
            most rows are copies of one.

    Source: Kornblith et al. (arXiv 1905.00414, section 4) with the HSIC of Song et al. (JMLR 2012, eq. 5).
    """
    check_pair(x, y)
    a, b = prepare(x, bandwidth, biased, "x"), prepare(y, bandwidth, biased, "y")
    n = len(a)
    centre = kernels.centred if biased else kernels.u_centred

    def refit(rows: Tensor) -> float:
        # What the centring took from all rows, it takes again from some of them.
        return compare(*(kernels.unit(centre(kernels.reordered(whole, rows))) for whole in (a, b)))

    value = compare(a, b)
    null = (a.trace() * b.trace()).item() / (n - 1) if biased else 0.0
    return Score(value, null, interval_of(value, refit, n), n)


def prepare(x: Tensor, bandwidth: float = 1.0, biased: bool = False, name: str = "x") -> Tensor:
    """The centred kernel matrix (n, n) of x (n, d), of norm 1; made once a layer.

    Raises:
        UserError: as in `cka_rbf`.
    """
    if len(x) > LIMIT:
        raise UserError(
            f"{name}: got {len(x)} rows, expected at most {LIMIT} for matrices of all pairs; "
            f"take a sample, such as x[::{-(-len(x) // LIMIT)}] and the same of y, or use cka"
        )
    if bandwidth <= 0:
        raise UserError(f"bandwidth: got {bandwidth}, expected a positive fraction of the median distance")
    rows = centred(name, x)
    gram = rows @ rows.T
    squares = gram.diagonal()
    distances = (squares[:, None] + squares[None, :] - 2 * gram).clamp(min=0)
    above = distances[kernels.above_diagonal(len(x))]
    median = above.median()
    # Copies of a row are at a distance of rounding errors.
    if median <= 1e-12 * above.max():
        raise UserError(f"{name}: most of its rows are copies of one, so distances have no median; remove duplicates")
    kernel = (distances / (-2 * bandwidth**2 * median)).exp().fill_diagonal_(1)
    return kernels.unit(kernels.centred(kernel) if biased else kernels.u_centred(kernel))
