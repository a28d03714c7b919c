"""CKA: do two representations have the same linear similarity structure?"""

from typing import NamedTuple

from torch import Tensor

from jepa_wm.contracts import Score
from probes import kernels
from probes.centring import mean
from probes.checks import check_pair, check_rows
from probes.hsic import hsic, jackknifed, sums_of

INVARIANCES = frozenset({"rotation", "scale", "translation", "permutation"})
SYMMETRIC = True


class Features(NamedTuple):
    """Centred rows (n, d) in float64, and their HSIC with themselves."""

    rows: Tensor
    own: Tensor


def cka(x: Tensor, y: Tensor) -> Score:
    """Linear CKA from the unbiased HSIC, in float64, O(n dx dy) time and no n x n matrix.

    Its expectation under independence is 0 for any width (the biased one's grows with it), so it can
    be slightly negative. A constant representation scores 0. The interval is +- 1.96 standard errors
    of a jackknife over 20 blocks of consecutive rows: keep the rows of an episode together. What does
    not fit in memory, or comes in shards, goes through `probes.streaming.StreamingCKA`.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n at least 8.

    Raises:
        UserError: rows differ in number or are too few, or a value is not finite.

    Source: Kornblith et al. (arXiv 1905.00414) with the HSIC of Song et al. (JMLR 2012, eq. 5), whose
    kernel sums are rewritten here as sums over samples of feature products.
    """
    check_pair(x, y, least=8)
    x, y = (part - mean(part) for part in (x.detach().double(), y.detach().double()))
    value, interval = jackknifed(x, y, hsic)
    return Score(value, 0.0, interval, len(x))


def prepare(x: Tensor) -> Tensor | Features:
    """What `compare` needs of x (n, d), made once a layer: a matrix (n, n), or features where n is large.

    Raises:
        UserError: rows are too few, or a value is not finite.
    """
    x = check_rows("x", x, least=8).detach().double()
    x = x - mean(x)
    if len(x) <= kernels.ROWS:
        return kernels.unit(kernels.u_centred(x @ x.T))
    return Features(x, hsic(sums_of(x, x)))


def compare(a: Tensor | Features, b: Tensor | Features) -> float:
    """CKA of two prepared layers of the same samples."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return kernels.inner(a, b)
    assert isinstance(a, Features) and isinstance(b, Features)
    scale = (a.own * b.own).clamp(min=0).sqrt()
    return (hsic(sums_of(a.rows, b.rows)) / scale).item() if scale > 0 else 0.0


def reordered(b: Tensor | Features, order: Tensor) -> Tensor | Features:
    """The prepared layer whose samples are order (n,): reorder once, then compare with many."""
    return kernels.reordered(b, order) if isinstance(b, Tensor) else b._replace(rows=b.rows[order])


def relabelled(a: Tensor | Features, b: Tensor | Features, order: Tensor) -> float:
    """CKA of x and y[order], order (n,)."""
    return compare(a, reordered(b, order))
