"""Exact nearest neighbours by cosine."""

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes.checks import check_rows


def neighbours(x: Tensor, k: int, y: Tensor | None = None) -> Tensor:
    """Indices (n, k) of the rows of y (m, d) nearest to each row of x (n, d) by cosine, nearest first.

    Without y the neighbours are among x itself, and no row is its own neighbour, also where
    duplicates come before it in its list.

    Raises:
        UserError: k is not between 1 and the number of possible neighbours, or the widths differ.
    """
    if y is not None:
        return search(x, y, k)[1]
    _check_k(k, len(x) - 1)
    found = search(x, x, k + 1)[1]
    drop = found == torch.arange(len(x))[:, None]
    drop[~drop.any(dim=1), -1] = True
    return found[~drop].view(len(x), k)


def search(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines and indices, both (n, k), of the gallery rows nearest to each query, nearest first.

    Raises:
        UserError: as in `neighbours`.
    """
    import faiss

    check_rows("queries", queries)
    check_rows("gallery", gallery)
    if queries.shape[1] != gallery.shape[1]:
        raise UserError(f"queries are {queries.shape[1]} wide and the gallery {gallery.shape[1]}; expected the same")
    _check_k(k, len(gallery))
    # faiss brings an OpenMP of its own, with a thread for every core whatever torch was told.
    faiss.omp_set_num_threads(torch.get_num_threads())
    x, y = (F.normalize(rows.detach().float(), dim=1).contiguous().numpy() for rows in (queries, gallery))
    similarity, index = faiss.knn(x, y, k, metric=faiss.METRIC_INNER_PRODUCT)
    return torch.from_numpy(similarity), torch.from_numpy(index)


def _check_k(k: int, most: int) -> None:
    if not 1 <= k <= most:
        raise UserError(f"k: got {k} neighbours, expected 1 to {most} in a gallery of this size")
