"""Exact nearest neighbours by cosine."""

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.checks import check_rows

# Candidates beyond k that float32 hands to float64, so that few rows need all cosines anew.
SPARE = 8
# Cosines nearer than this are ties: float64 tells two angles apart down to about 1e-6, rounding moves the rest.
DIGITS = 12
# Numbers a chunk may hold: 128 MiB of float32, 32 MiB of float64.
CHUNK = 2**25


def neighbours(x: Tensor, k: int, y: Tensor | None = None) -> Tensor:
    """Indices (n, k) of the rows of y (m, d) nearest to each row of x (n, d) by cosine, nearest first.

    Without y the neighbours are among x itself, and no row is its own neighbour, also where
    duplicates come before it in its list.

    Raises:
        UserError: k is not between 1 and the number of possible neighbours, the widths differ, a value is
            not finite, or all rows of x, searched among itself, point the same way.
    """
    if y is not None:
        return search(x, y, k)[1]
    check_rows("features", x)
    _check_k(k, len(x) - 1)
    _check_varied(x)
    index = _indices(x.detach(), k + 1)
    return index[not_self(index, torch.arange(len(x), device=x.device))].view(-1, k)


def nearest(x: Tensor, k: int, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cosines (float64) and indices, both (n, k), of the rows of x nearest to each other row, nearest first.

    With rows (q,), of those rows only, (q, k).

    Raises:
        UserError: as in `neighbours`.
    """
    check_rows("features", x)
    _check_k(k, len(x) - 1)
    _check_varied(x)
    cosine, index = search(x if rows is None else x[rows], x, k + 1)
    others = not_self(index, torch.arange(len(x), device=x.device) if rows is None else rows)
    return cosine[others].view(-1, k), index[others].view(-1, k)


def search(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines (float64) and indices, both (n, k), of the gallery rows nearest to each query, nearest first.

    float32 finds candidates (faiss; chunks of a matrix product on a GPU or without faiss), float64 orders
    them by (-cosine to 12 digits, index). A row whose last candidates are too near to call in float32, as
    among duplicates, gets all its cosines in float64, so the answer does not depend on who searched.

    Args:
        queries, gallery: (n, d) and (m, d), of any float type, on one device.
        k: neighbours.

    Raises:
        UserError: as in `neighbours`.
    """
    check_rows("queries", queries)
    check_rows("gallery", gallery)
    if queries.shape[1] != gallery.shape[1]:
        raise UserError(f"queries are {queries.shape[1]} wide and the gallery {gallery.shape[1]}; expected the same")
    _check_k(k, len(gallery))
    queries, gallery = queries.detach(), gallery.detach()
    x = _unit(queries)
    y = x if gallery is queries else _unit(gallery)
    rough, found = _candidates(x, y, min(k + SPARE, len(gallery)))
    exact = _cosines(queries, gallery, found)
    unsure = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
    if found.shape[1] < len(gallery):
        # What was left out is at most the last candidate in float32, whose error the candidates show.
        error = 4 * (rough - exact).abs().max() + 10.0**-DIGITS
        unsure = exact.kthvalue(found.shape[1] - k + 1, dim=1).values <= rough[:, -1] + error
    cosine, index = nearest_first(exact, found, k)
    for rows in unsure.nonzero()[:, 0].split(max(1, CHUNK // 4 // len(gallery))):
        cosine[rows], index[rows] = _all(queries[rows], gallery, k)
    return cosine, index


def _indices(x: Tensor, k: int) -> Tensor:
    """The indices (n, k) of `search(x, x, k)`; float64 is asked only of rows that float32 cannot put in order."""
    unit = _unit(x)
    rough, found = _candidates(unit, unit, min(k + 1, len(x)))
    some = torch.linspace(0, len(x) - 1, min(16, len(x)), device=x.device).long()
    near = found[some]
    exact = _cosines(x[some], x[near.flatten()], torch.arange(near.numel(), device=x.device).view_as(near))
    error = 4 * (rough[some] - exact).abs().max() + 1e-7
    unsure = ((rough[:, :-1] - rough[:, 1:]) <= 2 * error).any(dim=1).nonzero()[:, 0]
    if 16 * len(unsure) > len(x):
        return search(x, x, k)[1]
    index = found[:, :k].clone()
    for rows in unsure.split(max(1, CHUNK // 4 // len(x))):
        index[rows] = _all(x[rows], x, k)[1]
    return index


def rescore(queries: Tensor, gallery: Tensor, found: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines and indices (n, k) of the best of the gallery rows `found` (n, c), as `search` orders them.

    Where found is -1, for none, the cosine is minus infinity.
    """
    cosine = _cosines(queries, gallery, found.clamp(min=0))
    return nearest_first(cosine.masked_fill(found < 0, -torch.inf), found, k)


def nearest_first(cosine: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The first k of cosine and index (n, c), ordered by (-cosine, index)."""
    by_index = index.argsort(dim=1)
    order = by_index.gather(1, cosine.gather(1, by_index).argsort(dim=1, descending=True, stable=True))[:, :k]
    return cosine.gather(1, order), index.gather(1, order)


def not_self(found: Tensor, rows: Tensor) -> Tensor:
    """All entries of found (n, k + 1) but k: not the query rows (n,) itself, or the last where it is not there."""
    others = found != rows[:, None]
    others[others.all(dim=1), -1] = False
    return others


def _check_k(k: int, most: int) -> None:
    """Ask for 1 to `most` neighbours.

    Raises:
        UserError: k is outside.
    """
    if not 1 <= k <= most:
        raise UserError(
            f"k: got {k} neighbours, expected 1 to {most} in a gallery of this size; lower k or use more rows"
        )


def _check_varied(x: Tensor) -> None:
    """Ask that the rows of x (n, d) do not all point the same way.

    Raises:
        UserError: they do, so that every neighbour is a tie.
    """
    if len(x) > 8 and len(_cosines(x[:1], x[:8], torch.arange(8, device=x.device)[None]).unique()) > 1:
        return  # What holds of a few need not be asked of all.
    first = torch.zeros(1, len(x), dtype=torch.long, device=x.device)
    everyone = torch.arange(len(x), device=x.device)[None]
    if (x == x[0]).all() or (_cosines(x[:1], x, everyone) == _cosines(x[:1], x, first)).all():
        raise UserError(
            f"features: all {len(x)} rows are equal or point the same way, so nobody is nearest; "
            "the encoder has collapsed, or the layer is constant: choose another checkpoint or layer"
        )


def _unit(x: Tensor) -> Tensor:
    """Rows of x (n, d) of norm 1 in float32, zeros where they are zero."""
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide / _norm(x)[:, None].to(wide.dtype)).float().contiguous()


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1, dtype=torch.float64).clamp(min=torch.finfo(torch.float32).tiny)


def _candidates(x: Tensor, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Products in float32 and indices, both (n, k), of the rows of y (m, d) with the largest product with each of x."""
    if not x.is_cuda:
        try:
            import faiss
        except ImportError:
            return _by_torch(x, y, k)
        # faiss brings an OpenMP of its own, with a thread for every core whatever torch was told.
        faiss.omp_set_num_threads(torch.get_num_threads())
        product, index = faiss.knn(x.numpy(), y.numpy(), k, metric=faiss.METRIC_INNER_PRODUCT)
        return torch.from_numpy(product), torch.from_numpy(index)
    return _by_torch(x, y, k)


def _by_torch(x: Tensor, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `_candidates`, in chunks of a matrix product."""
    chunks = [(part @ y.T).topk(k, dim=1) for part in x.split(max(1, CHUNK // len(y)))]
    return torch.cat([chunk.values for chunk in chunks]), torch.cat([chunk.indices for chunk in chunks])


def _cosines(queries: Tensor, gallery: Tensor, found: Tensor) -> Tensor:
    """Cosines (n, c) in float64, to 12 digits, of each query with its found (n, c) gallery rows."""
    of_query, of_gallery = _norm(queries), _norm(gallery)
    rows = max(1, CHUNK // 8 // (found.shape[1] * gallery.shape[1]))
    cosines = []
    for part in torch.arange(len(queries), device=queries.device).split(rows):
        product = (gallery[found[part]].double() @ queries[part].double()[:, :, None])[:, :, 0]
        cosines.append(product / of_query[part, None] / of_gallery[found[part]])
    return torch.cat(cosines).round(decimals=DIGITS)


def _all(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `search`, with every cosine in float64."""
    rows = max(1, CHUNK // 8 // gallery.shape[1])
    product = torch.cat([queries.double() @ part.double().T for part in gallery.split(rows)], dim=1)
    cosine = (product / _norm(queries)[:, None] / _norm(gallery)).round(decimals=DIGITS)
    last = cosine.topk(k, dim=1).values[:, -1:]
    above, tied = cosine > last, cosine == last
    kept = above | (tied & (tied.cumsum(dim=1) <= k - above.sum(dim=1, keepdim=True)))
    index = kept.nonzero()[:, 1].view(len(queries), k)
    return nearest_first(cosine.gather(1, index), index, k)
