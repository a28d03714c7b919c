"""Retrieval across two representations in one space, such as captions and images."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import rate_interval, wilson
from probes.checks import check_rows
from probes.neighbours import neighbours
from probes.statistics import interval

KS = (1, 5, 10)


class Direction(NamedTuple):
    """How well queries find what belongs to them.

    Attributes:
        recall: at each k, the share of queries with something relevant among their k nearest.
        median_rank: the median over queries of the rank, from 1, of the nearest that is relevant; its null is the
            median over queries of the rank that is expected of a random ranking.
    """

    recall: dict[int, Score]
    median_rank: Score


class CrossModal(NamedTuple):
    """Retrieval both ways."""

    image_to_text: Direction
    text_to_image: Direction


def cross_modal(
    images: Tensor, texts: Tensor, image_ids: Tensor, text_ids: Tensor, ks: tuple[int, ...] = KS, seed: int = 0
) -> CrossModal:
    """Retrieve texts by images and images by texts; what has the same id belongs together, be it one text or several.

    Args:
        images: embeddings (n, D).
        texts: embeddings (m, D).
        image_ids, text_ids: integers (n,) and (m,).
        ks: numbers of rows looked at.
        seed: of the resampling.

    Raises:
        UserError: shapes differ, a value is not finite, a query has nothing relevant, or a k does not fit.

    Source: recall as CLIP_benchmark (official code) has it: one of several positives is enough.
    """
    forth = retrieve(images, texts, image_ids, text_ids, ks, seed)
    return CrossModal(forth, retrieve(texts, images, text_ids, image_ids, ks, seed))


def retrieve(
    queries: Tensor, gallery: Tensor, query_ids: Tensor, gallery_ids: Tensor, ks: tuple[int, ...] = KS, seed: int = 0
) -> Direction:
    """One way of `cross_modal`; queries of the same id count as one group in the intervals.

    Args:
        queries: (m, D).
        gallery: (n, D).
        query_ids, gallery_ids: integers (m,) and (n,).
        ks: numbers of rows looked at.
        seed: of the resampling.

    Raises:
        UserError: as in `cross_modal`.
    """
    rank, number = _ranks(queries, gallery, query_ids, gallery_ids)
    n = len(gallery)
    if not ks or min(ks) < 1 or max(ks) > n:
        raise UserError(f"ks: got {ks}; expected numbers from 1 to the {n} rows of the gallery")
    recall = {}
    for k in ks:
        hits = rank <= k
        around = rate_interval(hits.numpy(), query_ids.numpy())
        recall[k] = Score(hits.double().mean().item(), chance(number, n, k), around, len(hits))
    expected = ((n + 1) / (number.double() + 1)).median().item()
    around = _median_interval(rank.double(), query_ids, torch.Generator().manual_seed(seed))
    return Direction(recall, Score(rank.double().median().item(), expected, around, len(rank)))


def _ranks(queries: Tensor, gallery: Tensor, query_ids: Tensor, gallery_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Rank (m,) of the nearest relevant row, from 1, and the number (m,) of relevant rows, of each query.

    Of rows that are equally near, those that are not relevant come first: what a tie hides was not found.
    """
    check_rows("queries", queries)
    check_rows("gallery", gallery)
    if queries.shape[1] != gallery.shape[1]:
        raise UserError(f"queries are {queries.shape[1]} wide and the gallery {gallery.shape[1]}; expected the same")
    for name, x, ids in (("queries", queries, query_ids), ("gallery", gallery, gallery_ids)):
        if ids.shape != (len(x),):
            raise UserError(f"ids of {name}: got shape {tuple(ids.shape)}, expected one for each row, ({len(x)},)")
    x, y = (F.normalize(rows.float(), dim=1) for rows in (queries, gallery))
    rank, number = [], []
    # A block of queries at a time: all similarities of a large gallery need not fit in memory.
    for some, ids in zip(x.split(1024), query_ids.split(1024), strict=True):
        similarity, relevant = some @ y.T, ids[:, None] == gallery_ids
        best = similarity.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
        rank.append(((similarity >= best) & ~relevant).sum(dim=1) + 1)
        number.append(relevant.sum(dim=1))
    found = torch.cat(number)
    if not found.all():
        raise UserError(f"query {int(found.argmin())} has no relevant row in the gallery; leave it out")
    return torch.cat(rank), found


def _median_interval(
    rank: Tensor, groups: Tensor, generator: torch.Generator, draws: int = 1000
) -> tuple[float, float]:
    """The interval of the median of rank (m,) over a bootstrap of whole groups (m,)."""
    index = torch.unique(groups, return_inverse=True)[1]
    count = int(index.max()) + 1
    picks = torch.randint(count, (draws, count), generator=generator)
    times = torch.zeros(draws, count, dtype=torch.long).scatter_add_(1, picks, torch.ones_like(picks))
    ranked, order = rank.sort()
    seen = times[:, index[order]].cumsum(dim=1)
    middle = (seen >= (seen[:, -1:] + 1) // 2).int().argmax(dim=1)
    return interval(ranked[middle])


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
