"""Retrieval across two representations in one space, such as captions and images."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import wilson
from probes.neighbours import neighbours


def recall_at_k(queries: Tensor, gallery: Tensor, relevant: Tensor, k: int = 1) -> Score:
    """Share of queries that find at least one relevant row among their k nearest by cosine.

    The null is the exact chance of a random ranking, given how many rows are relevant to each query;
    the interval is Wilson's.

    Args:
        queries: (m, d).
        gallery: (n, d).
        relevant: booleans (m, n); each query has at least one relevant row.
        k: rows looked at.

    Raises:
        UserError: shapes differ, or a query has no relevant row.
    """
    m, n = len(queries), len(gallery)
    if relevant.shape != (m, n):
        raise UserError(f"relevant: got shape {tuple(relevant.shape)}, expected (queries, gallery) = {(m, n)}")
    number = relevant.sum(dim=1)
    if not number.all():
        raise UserError(f"query {int(number.argmin())} has no relevant row in the gallery; leave it out")
    hits = int(relevant.gather(1, neighbours(queries, k, gallery)).any(dim=1).sum())
    return Score(hits / m, chance(number, n, k), wilson(hits, m), m)


def chance(relevant: Tensor, n: int, k: int) -> float:
    """Mean over queries of 1 - C(n - r, k) / C(n, k), for r = `relevant` (m,) of n rows."""
    drawn = torch.arange(k, dtype=torch.float64)
    miss = (n - relevant[:, None] - drawn).clamp(min=0) / (n - drawn)
    return 1 - miss.prod(dim=1).mean().item()
