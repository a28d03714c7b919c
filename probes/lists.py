"""Lists of neighbours (n, k), nearest first: what the metrics that compare them share.

Entry -1 says that there is no such neighbour; it agrees with nothing.
"""

import torch
from torch import Tensor


def relabel(lists: Tensor, order: Tensor) -> Tensor:
    """The lists (n, k) that `x[order]` has, from those of x, without a search; order (n,) is a permutation.

    Where two neighbours are equally near, the order in a list may differ from that of a new search.
    """
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return place[lists[order]]


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Which entries of each row of lists a (n, k) are in the same row of lists b (n, l): bool (n, k)."""
    shared = torch.zeros_like(a, dtype=torch.bool)
    for column in b.T:
        shared |= a == column[:, None]
    return shared & (a >= 0)
