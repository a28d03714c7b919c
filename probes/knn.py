"""What nearest neighbours by cosine know of the labels."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.statistics import wilson
from probes.linear import r_squared
from probes.neighbours import search
from probes.statistics import majority_rate


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
    similarity, found = search(test_x, train_x, k)
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
    similarity, found = search(test_x.float() - mean, train_x.float() - mean, k)
    weights = (similarity.double() / temperature).softmax(dim=1)
    predicted = (train_y.double()[found] * weights[..., None]).sum(dim=1)
    return r_squared(predicted, test_y.double()).mean().item()
