"""CKNNA: do two representations give the neighbours that they share the same similarities?"""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from probes.checks import check_pair, check_rows
from probes.lists import longer, overlap, relabel, subsample, survivors
from probes.neighbours import check_k, check_varied, drop_self, search

INVARIANCES = frozenset({"rotation", "scale", "permutation"})
# The rows' sums of x meet the columns' sums of y, and who is near whom is not mutual.
SYMMETRIC = False


class Layer(NamedTuple):
    """Neighbours of a layer, nearest first."""

    lists: Tensor  # (n, k)
    cosines: Tensor  # (n, k)
    hsic: float  # of the layer with itself


def cknna(x: Tensor, y: Tensor, k: int = 10) -> Score:
    """CKA of the cosines, unbiased, with all of them taken as 0 but those of neighbours that x and y share.

    The null is the exact mean over permutations, the interval over subsamples of rows (`subsample`).

    Args:
        x, y: the same n samples, (n, dx) and (n, dy), n at least 4.
        k: neighbours.

    Raises:
        UserError: rows differ in number or are too few, a value is not finite, x or y does not vary, k is not
            below n, or so few neighbours are mutual that a layer has no similarity to itself.

    Source: Huh et al. (arXiv 2405.07987, appendix) as in platonic-rep's `cknna`, without its clipping of features
    and the 1e-6 in its denominator (see `compare`). As there, i may be j's neighbour but not j i's: the trace
    counts only shared pairs that are mutual, and the value changes a little when x and y change places.
    """
    check_pair(x, y, least=4)
    of_x, of_y = (_search(z, longer(len(z), k)) for z in (x, y))
    everyone = torch.ones(len(x), dtype=torch.bool)
    a, b = _kept(*of_x, everyone, k), _kept(*of_y, everyone, k)
    value = compare(a, b)
    interval = subsample(value, len(x), lambda kept: compare(_kept(*of_x, kept, k), _kept(*of_y, kept, k)))
    return Score(value, null(a, b), interval, len(x))


def prepare(x: Tensor, k: int = 10) -> Layer:
    """The k neighbours of each row of x (n, d), and what the layer's similarity to itself is."""
    check_rows("features", x, least=4)
    return _layer(*_search(x, k))


def compare(a: Layer, b: Layer, eps: float = 0.0) -> float:
    """The value from two layers; platonic-rep adds eps = 1e-6 to the denominator."""
    return _hsic(a, b) / ((a.hsic * b.hsic) ** 0.5 + eps)


def relabelled(a: Layer, b: Layer, order: Tensor) -> float:
    """The value had y been y[order], order (n,)."""
    return compare(a, Layer(relabel(b.lists, order), b.cosines[order], b.hsic))


def null(a: Layer, b: Layer) -> float:
    """Mean of the value over all permutations of the rows of one layer.

    The HSIC is a sum over pairs of neighbourhoods (i, j), (l, m) that both layers have. Two pairs relate in
    one of seven ways (the same, turned round, one row in common in four ways, none), and a permutation takes a pair
    of one kind to any pair of that kind, each as likely.
    """
    n = len(a.lists)
    first, second = _by_kind(a, weigh_first=True), _by_kind(b, weigh_first=False)
    two, three = n * (n - 1), n * (n - 1) * (n - 2)
    number = torch.tensor([two, two, three, three, three, three, three * (n - 3)], dtype=torch.float64)
    _, turned, _, _, onward, _, _ = kinds = first * second / number
    return _unbiased(turned, kinds.sum(), turned + onward, n) / (a.hsic * b.hsic) ** 0.5


def _search(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Neighbours and their cosines, both (n, k), without the row itself."""
    check_k(k, len(x) - 1)
    check_varied(x)
    cosine, index = search(x, x, k + 1)
    kept = drop_self(index)
    return kept, cosine.gather(1, (index[:, None, :] == kept[:, :, None]).byte().argmax(dim=2))


def _layer(index: Tensor, cosine: Tensor) -> Layer:
    layer = Layer(index, cosine, 0.0)
    hsic = _hsic(layer, layer)
    if not hsic > 0:
        raise UserError(
            f"cknna: the similarity of a layer to itself is {hsic:.3g} with k {index.shape[1]} in {len(index)} rows, "
            "expected more than 0; too few neighbours are mutual, or nearly all rows are neighbours: choose another k"
        )
    return layer._replace(hsic=hsic)


def _kept(index: Tensor, cosine: Tensor, kept: Tensor, k: int) -> Layer:
    """The layer of the kept rows, bool (n,), from lists that are longer than k."""
    left, columns = survivors(index, kept, k)
    return _layer(left, cosine[kept].gather(1, columns))


def _hsic(a: Layer, b: Layer) -> float:
    """Unbiased HSIC of the two layers' cosines at the neighbours that they share."""
    n = len(a.lists)
    shared = overlap(a.lists, b.lists)
    row = torch.arange(n, device=a.lists.device)[:, None].expand_as(a.lists)
    i, j, of_a = row[shared], a.lists[shared], a.cosines[shared]
    # Sorted by (row, neighbour), the shared pairs of a and of b are the same ones in the same order.
    other = overlap(b.lists, a.lists)
    of_a = of_a[(i * n + j).argsort()]
    pairs, by_pair = (row[other] * n + b.lists[other]).sort()
    of_b = b.cosines[other][by_pair]
    i, j = pairs // n, pairs % n
    mutual = torch.isin(j * n + i, pairs)
    trace = (of_a * of_b)[mutual].sum()
    columns, rows = (torch.zeros(n, dtype=torch.float64, device=i.device) for _ in range(2))
    columns.index_add_(0, j, of_a)
    rows.index_add_(0, i, of_b)
    return _unbiased(trace, of_a.sum() * of_b.sum(), columns @ rows, n)


def _unbiased(trace: Tensor, sums: Tensor, steps: Tensor, n: int) -> float:
    """HSIC of Song et al. (JMLR 2012, eq. 5) from tr(K M), the product of their sums, and the sum of K M."""
    return ((trace + sums / ((n - 1) * (n - 2)) - 2 * steps / (n - 2)) / (n * (n - 3))).item()


def _by_kind(layer: Layer, weigh_first: bool) -> Tensor:
    """Sums (7,) of one neighbourhood's cosine over pairs of them: the same, turned round, from one row, to one row,
    the second from where the first goes, the first from where the second goes, apart."""
    n, k = layer.lists.shape
    row = torch.arange(n, device=layer.lists.device)[:, None].expand_as(layer.lists)
    pair, turned_round = row * n + layer.lists, layer.lists * n + row
    total = layer.cosines.sum()
    turned = layer.cosines[torch.isin(turned_round, pair)].sum()
    entered = torch.bincount(layer.lists.flatten(), minlength=n).double()
    to_one = (layer.cosines * entered[layer.lists]).sum() - total
    after, before = k * total - turned, layer.cosines.sum(dim=1) @ entered - turned
    one_row = [(k - 1) * total, to_one, *((after, before) if weigh_first else (before, after))]
    apart = n * k * total - total - turned - sum(one_row)
    return torch.stack([total, turned, *one_row, apart])
