"""Exact nearest neighbours by cosine, and what they know of the labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import wilson
from probes.checks import check_rows
from probes.linear import r_squared
from probes.statistics import majority_rate


def neighbours(x: Tensor, k: int, y: Tensor | None = None) -> Tensor:
    """Indices (n, k) of the rows of y (m, d) nearest to each row of x (n, d) by cosine, nearest first.

    Without y the neighbours are among x itself, and no row is its own neighbour, also where
    duplicates come before it in its list.

    Raises:
        UserError: k is not between 1 and the number of possible neighbours, or the widths differ.
    """
    if y is not None:
        return _search(x, y, k)[1]
    _check_k(k, len(x) - 1)
    found = _search(x, x, k + 1)[1]
    drop = found == torch.arange(len(x))[:, None]
    drop[~drop.any(dim=1), -1] = True
    return found[~drop].view(len(x), k)


def knn_classify(
    train_x: Tensor,
    train_labels: Tensor,
    test_x: Tensor,
    test_labels: Tensor,
    k: int = 20,
    temperature: float = 0.07,
) -> Score:
    """Accuracy of the labels that k training rows vote for, weighted by exp(cosine / temperature).

    The null is the rate of the most frequent training label, the interval Wilson's.

    Args:
        train_x, test_x: features (n, d) and (m, d).
        train_labels, test_labels: integers (n,) and (m,), from 0.
        k: voters.
        temperature: of the weights.

    Raises:
        UserError: as in `neighbours`.

    Source: DINO (arXiv 2104.14294), whose voters and temperature these are.
    """
    similarity, found = _search(test_x, train_x, k)
    # Softmax differs from exp by one factor a row, which no vote feels, and cannot overflow.
    weights = (similarity.double() / temperature).softmax(dim=1)
    votes = torch.zeros(len(test_x), int(train_labels.max()) + 1, dtype=torch.float64)
    votes.scatter_add_(1, train_labels.long()[found], weights)
    hits = int((votes.argmax(dim=1) == test_labels).sum())
    n = len(test_x)
    return Score(hits / n, majority_rate(train_labels, test_labels), wilson(hits, n), n)


def knn_regress(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, k: int = 20, temperature: float = 0.07
) -> float:
    """R², averaged over targets, of the mean of k training rows' targets, weighted by exp(cosine / temperature).

    Features are centred by the training rows first: what all share says nothing of who is near.

    Args:
        train_x, test_x: features (n, d) and (m, d).
        train_y, test_y: targets (n, t) and (m, t).
        k: neighbours.
        temperature: of the weights.

    Raises:
        UserError: as in `neighbours`.
    """
    mean = train_x.float().mean(dim=0)
    similarity, found = _search(test_x.float() - mean, train_x.float() - mean, k)
    weights = (similarity.double() / temperature).softmax(dim=1)
    predicted = (train_y.double()[found] * weights[..., None]).sum(dim=1)
    return r_squared(predicted, test_y.double()).mean().item()


def _search(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines and indices, both (n, k), of the gallery rows nearest to each query, nearest first."""
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
