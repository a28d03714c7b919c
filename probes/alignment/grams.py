"""CKA of all pairs of layers at once."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Grams:
    """Inner products (Lx, Ly) of all layers of x with all of y, also with the rows of y in another order.

    CKA is the inner product of two centred kernels of norm 1, and those are symmetric, so that a layer is one column
    of the entries (i, j), i <= j. An order of y's rows is a gather from a table of the side with fewer layers, then
    one product. The values are in float64, those of orders in float32, which is far finer than they are spread.

    Args:
        x, y: centred kernels of norm 1, symmetric, (n, n) each.
    """

    def __init__(self, x: Sequence[Tensor], y: Sequence[Tensor]) -> None:
        n = self.n = len(x[0])
        self.i, self.j = torch.triu_indices(n, n)
        self.turned = len(y) > len(x)
        few, many = (x, y) if self.turned else (y, x)
        twice = torch.where(self.i == self.j, 1.0, 2.0).double()[:, None]
        columns, others = (torch.stack([kernel[self.i, self.j] for kernel in side], dim=1) for side in (few, many))
        self.values = self._product(columns, others * twice)
        self.many = (others * twice).float()
        self.table = torch.stack([kernel.flatten().float() for kernel in few], dim=1)

    def __call__(self, order: Tensor | None = None) -> Tensor:
        """Values (Lx, Ly), float64, with y[order] in y's place."""
        if order is None:
            return self.values
        if self.turned:  # y[order] against x is y against x in the order that undoes it.
            order = order.argsort()
        places = order.index_select(0, self.i) * self.n + order.index_select(0, self.j)
        return self._product(self.table.index_select(0, places), self.many).double()

    def _product(self, few: Tensor, many: Tensor) -> Tensor:
        return few.T @ many if self.turned else many.T @ few
