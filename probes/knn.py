"""What nearest neighbours by cosine know of the labels."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import wilson
from probes.heads.outcome import Trained, accuracy, check_labels
from probes.linear import Split, check_splits, r_squared
from probes.neighbours import search
from probes.statistics import majority_rate

NEIGHBOURS = (10, 20, 100, 200)
"""Numbers of voters that DINO and DINOv3 report."""


def knn_probe(
    train: Split,
    val: Split,
    test: Split,
    groups: Tensor | None = None,
    ks: tuple[int, ...] = NEIGHBOURS,
    temperature: float = 0.07,
) -> Trained:
    """Accuracy of the labels that k training rows vote for, weighted by exp(cosine / temperature), k chosen on `val`.

    Args:
        train, val, test: features (n, d), as they are, and integer labels (n,) from 0.
        groups: episode (n_train + n_val + n_test,) of every row, in this order; None: each row its own.
        ks: numbers of voters; those above the number of training rows are left out.
        temperature: of the weights.

    Raises:
        UserError: shapes differ, a feature is not finite, splits share an episode or one lacks a class, or no k fits.

    Source: DINOv3's protocol (arXiv 2508.10104, official code), which reports every k, or the best on what is tested.
    """
    test_groups = check_splits(train, val, test, groups)[1]
    labels = [train[1], val[1], test[1]]
    classes = check_labels(*labels)
    fitting = tuple(k for k in ks if 1 <= k <= len(train[0]))
    if not fitting:
        raise UserError(f"ks: got {ks}; expected one from 1 to the {len(train[0])} training rows")
    guessed, predicted = (
        torch.stack([_votes(*found, labels[0], classes, k, temperature).argmax(dim=1) for k in fitting])[None]
        for found in (search(x, train[0], max(fitting)) for x in (val[0], test[0]))
    )
    return accuracy(guessed, predicted, labels, [{"k": float(k)} for k in fitting], test_groups)


def _votes(similarity: Tensor, found: Tensor, labels: Tensor, classes: int, k: int, temperature: float) -> Tensor:
    """Votes (n, classes) of the first k of the neighbours found (n, K), whose cosines are `similarity` (n, K)."""
    # Softmax differs from exp by one factor a row, which no vote feels, and cannot overflow.
    weights = (similarity[:, :k].double() / temperature).softmax(dim=1)
    votes = torch.zeros(len(found), classes, dtype=torch.float64)
    return votes.scatter_add_(1, labels.long()[found[:, :k]], weights)


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
    votes = _votes(*search(test_x, train_x, k), train_labels, int(train_labels.max()) + 1, k, temperature)
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
    similarity, found = search(test_x.float() - mean, train_x.float() - mean, k)
    weights = (similarity.double() / temperature).softmax(dim=1)
    predicted = (train_y.double()[found] * weights[..., None]).sum(dim=1)
    return r_squared(predicted, test_y.double()).mean().item()
