"""CKA: do two representations have the same linear similarity structure?"""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.checks import check_pair

INVARIANCES = frozenset({"rotation", "scale", "translation", "permutation"})
SYMMETRIC = True

BLOCKS = 20


def cka(x: Tensor, y: Tensor) -> Score:
    """Linear CKA from the unbiased HSIC, in float64, O(n dx dy) time and no n x n matrix.

    Its expectation under independence is 0 for any width (the biased one's grows with it), so it can
    be slightly negative. A constant representation scores 0. The interval is +- 1.96 standard errors
    of a jackknife over 20 blocks of consecutive rows: keep the rows of an episode together.

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n at least 8.

    Raises:
        UserError: rows differ in number or are too few, or a value is not finite.

    Source: Kornblith et al. (arXiv 1905.00414) with the HSIC of Song et al. (JMLR 2012, eq. 5), whose
    kernel sums are rewritten here as sums over samples of feature products.
    """
    check_pair(x, y, least=8)
    x, y = _unit(x), _unit(y)
    pairs = [(x, y), (x, x), (y, y)]
    whole = [_sums(*pair) for pair in pairs]
    left_out = []
    for block in torch.arange(len(x)).tensor_split(min(BLOCKS, len(x) // 2)):
        span = slice(int(block[0]), int(block[-1]) + 1)
        left_out.append(_ratio([_minus(s, _sums(a[span], b[span])) for s, (a, b) in zip(whole, pairs, strict=True)]))
    jackknife = torch.stack(left_out)
    value = _ratio(whole).item()
    error = 1.96 * ((len(jackknife) - 1) * jackknife.var(correction=0)).sqrt().item()
    return Score(value, 0.0, (value - error, value + error), len(x))


def _unit(x: Tensor) -> Tensor:
    """Centred x (n, d) of mean square row norm 1 in float64 (against cancellation; CKA is blind to both)."""
    centred = x.detach().double() - x.detach().double().mean(dim=0)
    norm = centred.norm()
    if norm <= torch.finfo(x.dtype).eps * x.norm():
        return torch.zeros_like(centred)
    return centred * (len(x) ** 0.5 / norm)


def _sums(x: Tensor, y: Tensor) -> list[Tensor]:
    """All that HSIC(x, y) needs of x (n, dx) and y (n, dy), additive over blocks of samples."""
    a, b = x.square().sum(dim=1), y.square().sum(dim=1)
    n = torch.tensor(float(len(x)), dtype=x.dtype)
    return [n, x.T @ y, x.sum(dim=0), y.sum(dim=0), x.T @ b, y.T @ a, a.sum(), b.sum(), a @ b]


def _hsic(sums: list[Tensor]) -> Tensor:
    """Unbiased HSIC (scalar) of the kernels xx' and yy' with their diagonals removed."""
    n, xy, x, y, xb, ya, a, b, ab = sums
    trace = xy.square().sum() - ab
    total = (x @ x - a) * (y @ y - b)
    rows = x @ xy @ y - x @ xb - y @ ya + ab
    return (trace + total / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


def _ratio(sums: list[list[Tensor]]) -> Tensor:
    """CKA (scalar) from the sums of (x, y), (x, x) and (y, y); 0 where a representation does not vary."""
    shared, of_x, of_y = (_hsic(pair) for pair in sums)
    scale = of_x * of_y
    return shared / scale.sqrt() if scale > 0 else torch.zeros_like(shared)


def _minus(whole: list[Tensor], block: list[Tensor]) -> list[Tensor]:
    return [total - part for total, part in zip(whole, block, strict=True)]
