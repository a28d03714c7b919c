"""Mutual kNN of all pairs of layers at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from probes.neighbours import neighbours

DENSE = 2**28
"""Cells of the largest n x n table that is kept to find an edge in one step (int32: 1 GiB)."""


class Overlaps:
    """Mutual kNN (Lx, Ly) of all layers of x with all layers of y, also with the rows of y in another order.

    The lists of all layers of a side are one set of directed edges (i, j), each with a row that says which
    layers have it. An order of y's rows renames its edges and searches nothing anew: edge (i, j) of x is met if
    y has (order[i], order[j]). What the layers share is then one product of the rows of the edges that are met.

    Args:
        x, y: lists of neighbours, each (n, k), as `neighbours` gives them.
    """

    def __init__(self, x: Sequence[Tensor], y: Sequence[Tensor]) -> None:
        self.n, self.k = x[0].shape
        self.edges, self.of_x = _edges(x)
        self.found, self.of_y = _edges(y)
        self.source, self.target = self.edges // self.n, self.edges % self.n
        self.table = _table(self.found, self.n) if self.n**2 <= DENSE else None

    def __call__(self, order: Tensor | None = None) -> Tensor:
        """Values (Lx, Ly), float64, with y[order] in y's place."""
        edges = self.edges
        if order is not None:
            edges = order.index_select(0, self.source) * self.n + order.index_select(0, self.target)
        mine, theirs = self._met(edges)
        # Counts stay exact in float32: they are below 2^24 for up to 1.6 million rows of 10 neighbours.
        shared = self.of_x.index_select(0, mine).T @ self.of_y.index_select(0, theirs)
        return shared.double() / (self.n * self.k)

    def _met(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the edges (e,) y has: their places here and in y's set, both (m,)."""
        if self.table is not None:
            place = self.table.index_select(0, edges)
            mine = place.nonzero()[:, 0]
            return mine, place.index_select(0, mine).sub_(1)
        place = torch.searchsorted(self.found, edges).clamp_(max=len(self.found) - 1)
        mine = (self.found[place] == edges).nonzero()[:, 0]
        return mine, place[mine]


def mutual_knn_without(x: Tensor, y: Tensor, k: int, blocks: Sequence[Tensor]) -> Tensor:
    """Mutual kNN of x (n, dx) and y (n, dy) without each block of rows (m,), from one search a space: (blocks,).

    The k nearest that remain are among the k + m nearest, so lists that much longer hold them all.
    """
    longest = min(k + max(len(block) for block in blocks), len(x) - 1)
    lists = [neighbours(space, longest) for space in (x, y)]
    values = []
    for block in blocks:
        dropped = torch.zeros(len(x), dtype=torch.bool)
        dropped[block] = True
        of_x, of_y = (_first(lists_of[~dropped], dropped, k) for lists_of in lists)
        values.append((of_x[:, :, None] == of_y[:, None, :]).any(dim=2).double().mean())
    return torch.stack(values)


def _first(lists: Tensor, dropped: Tensor, k: int) -> Tensor:
    """The first k of each list (n, longest) that are not dropped (rows,): (n, k)."""
    kept = ~dropped[lists]
    return lists[kept & (kept.cumsum(dim=1) <= k)].view(len(lists), k)


def _edges(lists: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The edges i n + j of all lists, sorted, (e,), and which layers have them, float32 (e, L)."""
    n = len(lists[0])
    rows = torch.arange(n)[:, None] * n
    keys = [(rows + layer).flatten() for layer in lists]
    edges, place = torch.unique(torch.cat(keys), return_inverse=True)
    member = torch.zeros(len(edges), len(lists))
    for layer, places in enumerate(place.split([len(key) for key in keys])):
        member[places, layer] = 1
    return edges, member


def _table(edges: Tensor, n: int) -> Tensor:
    """For each i n + j the place of that edge counted from 1, 0 where there is none: int32 (n n,)."""
    table = torch.zeros(n * n, dtype=torch.int32)
    table[edges] = torch.arange(1, len(edges) + 1, dtype=torch.int32)
    return table
