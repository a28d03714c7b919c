"""Unbiased linear CKA of all pairs of layers at once."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Grams:
    """Unbiased linear CKA (Lx, Ly) of all layers of x with all of y, also with the rows of y in another order.

    The unbiased HSIC of two Gram matrices is the inner product of their U-centred forms, so CKA is a cosine of
    their upper triangles. Each is made once a layer; an order of y's rows is a gather from one table of the side
    with fewer layers and one product. The values are in float64, those of permutations in float32, which is
    far finer than they are spread.

    Args:
        x, y: layers of the same n rows, (n, d).

    Source: Szekely & Rizzo (Annals of Statistics 2014, arXiv 1310.2926) for U-centring, whose inner product is the
    HSIC of Song et al. (JMLR 2012, eq. 5).
    """

    def __init__(self, x: Sequence[Tensor], y: Sequence[Tensor]) -> None:
        n = self.n = len(x[0])
        self.i, self.j = torch.triu_indices(n, n, offset=1)
        self.turned = len(y) > len(x)
        few, many = (_triangles(layers, self.i, self.j) for layers in ((x, y) if self.turned else (y, x)))
        self.values = (few.T @ many if self.turned else many.T @ few).clone()
        self.many = many.float()
        self.table = torch.zeros(n * n, few.shape[1])
        self.table[self.i * n + self.j] = self.table[self.j * n + self.i] = few.float()

    def __call__(self, order: Tensor | None = None) -> Tensor:
        """Values (Lx, Ly), float64, with y[order] in y's place."""
        if order is None:
            return self.values
        if self.turned:  # y[order] against x is y against x in the order that undoes it.
            order = order.argsort()
        places = order.index_select(0, self.i) * self.n + order.index_select(0, self.j)
        moved = self.table.index_select(0, places)
        return (moved.T @ self.many if self.turned else self.many.T @ moved).double()


def gram_bytes(n: int, layers: int) -> int:
    """The memory that `Grams` needs at most, while it is made."""
    return 8 * n * n * layers


def _triangles(layers: Sequence[Tensor], i: Tensor, j: Tensor) -> Tensor:
    """The U-centred Gram matrices' entries (i, j) for all i < j, of norm 1 a layer: float64 (pairs, L).

    All 0 where all rows are equally far apart, as CKA is then.
    """
    columns = torch.empty(len(i), len(layers), dtype=torch.float64)
    for layer, x in enumerate(layers):
        rows = x.detach().double()
        rows = rows - rows.mean(dim=0)  # Changes nothing but the rounding.
        columns[:, layer] = _u_centred(rows @ (rows / rows.square().sum()).T)[i, j]
    norm = columns.norm(dim=0)
    return columns / norm.where(norm > 1e-12, torch.inf)


def _u_centred(gram: Tensor) -> Tensor:
    """A Gram matrix (n, n) without its diagonal, shifted such that its rows sum to 0."""
    n = len(gram)
    gram = gram.fill_diagonal_(0)
    sums = gram.sum(dim=1) / (n - 2)
    return gram - sums[:, None] - sums + sums.sum() / (n - 1)
