"""Accuracy with a few examples of each class, over many draws of them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import rate_interval
from probes.heads.logistic import logistic
from probes.heads.outcome import check_labels
from probes.linear import Split, check_splits, ridge, standardise
from probes.statistics import interval, majority_rate, resample_groups

Classifier = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Examples (m, d), their labels (m,) and queries (n, d) -> logits (n, C)."""
SHOTS = (1, 2, 5, 10)


class FewShot(NamedTuple):
    """What so many examples of each class are worth.

    Attributes:
        shots: examples of each class.
        score: accuracy on test, averaged over draws; its interval is that of this mean, over draws and over whole
            groups of the test split.
        spread: the central 95 % of single draws: what someone with one draw may find.
        chosen: the classifier that was best on `val`.
    """

    shots: int
    score: Score
    spread: tuple[float, float]
    chosen: str


def nearest_mean(x: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Minus the squared distance of queries to the mean of each class's examples, but for what classes share."""
    one_hot = F.one_hot(labels).to(x.dtype)
    means = one_hot.T @ x / one_hot.sum(dim=0)[:, None]
    return 2 * queries @ means.T - means.square().sum(dim=1)


def ridge_logits(x: Tensor, labels: Tensor, queries: Tensor, penalty: float = 1.0) -> Tensor:
    """Ridge regression of one-hot labels, as `probes.linear.ridge` counts the penalty."""
    one_hot, mean = F.one_hot(labels).to(x.dtype), x.mean(dim=0)
    offset = one_hot.mean(dim=0)
    return (queries - mean) @ ridge(x - mean, one_hot - offset, (penalty,))[0] + offset


def logistic_logits(x: Tensor, labels: Tensor, queries: Tensor, c: float = 1.0) -> Tensor:
    """Logistic regression."""
    mean = x.mean(dim=0)
    return logistic(x - mean, labels, (c,)).logits(queries - mean)[0]


CLASSIFIERS: Mapping[str, Classifier] = {"nearest mean": nearest_mean, "ridge": ridge_logits}
"""Those that take no time to fit; `logistic_logits` is there, too."""


def few_shot(
    train: Split,
    val: Split,
    test: Split,
    groups: Tensor | None = None,
    shots: tuple[int, ...] = SHOTS,
    classifiers: Mapping[str, Classifier] = CLASSIFIERS,
    draws: int = 100,
    seed: int = 0,
) -> list[FewShot]:
    """Accuracy on test after s examples of each class, for every s of `shots`, the classifier chosen on `val`.

    Features are standardised by the training split, whose labels this does not need. The null is the majority rate.

    Args:
        train, val, test: features (n, d), and integer labels (n,) from 0. Examples are drawn from train.
        groups: episode (n_train + n_val + n_test,) of every row, in this order; None: each row its own.
        shots: numbers of examples of each class.
        classifiers: in closed form or nearly, since each is fitted `draws` times for every s.
        draws: of the examples, without replacement within one.
        seed: of the draws and of the resampling.

    Raises:
        UserError: shapes differ, a feature is not finite, splits share an episode, one lacks a class, or a class has
            fewer training rows than examples are asked for.
    """
    test_groups = check_splits(train, val, test, groups)[1]
    check_labels(train[1], val[1], test[1])
    labels, val_y, test_y = train[1].long(), val[1].long(), test[1].long()
    _check_shots(labels, shots)
    x, val_x, test_x = standardise(train[0], val[0], test[0])
    generator = torch.Generator().manual_seed(seed)
    null, queries = majority_rate(labels, test_y), torch.cat([val_x, test_x])
    found = []
    for count in shots:
        examples = [draw(labels, count, generator) for _ in range(draws)]
        answers = {
            name: torch.stack([fit(x[rows], labels[rows], queries).argmax(dim=1) for rows in examples])
            for name, fit in classifiers.items()
        }
        right = {name: (answer[:, : len(val_y)] == val_y).double().mean().item() for name, answer in answers.items()}
        best = max(right, key=lambda name: right[name])
        hits = (answers[best][:, len(val_y) :] == test_y).double()
        score = Score(hits.mean().item(), null, _interval(hits, test_groups, generator), len(test_y))
        found.append(FewShot(count, score, interval(hits.mean(dim=1)), best))
    return found


def draw(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Rows (C * count,) of labels (n,): `count` of each class, at random."""
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == label][:count] for label in range(int(labels.max()) + 1)])


def _interval(hits: Tensor, groups: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """The interval of the mean of hits (draws, n) over other draws and other whole groups (n,)."""
    rows = torch.cat([torch.ones_like(hits[:1]), hits]).T
    sums = resample_groups(rows, groups, generator)
    rates = sums[:, 1:] / sums[:, :1]
    low, high = interval(rates.gather(1, torch.randint(len(hits), rates.shape, generator=generator)).mean(dim=1))
    # A bootstrap of answers that are all right would claim to know the rate exactly.
    least, most = rate_interval(hits.mean(dim=0).numpy(), groups.numpy())
    return min(low, least), max(high, most)


def _check_shots(labels: Tensor, shots: tuple[int, ...]) -> None:
    rows = labels.bincount()
    if not shots or min(shots) < 1 or max(shots) > int(rows.min()):
        raise UserError(
            f"shots: got {shots}; expected numbers from 1 to the {int(rows.min())} training rows of class "
            f"{int(rows.argmin())}, the rarest"
        )
