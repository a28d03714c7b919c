"""What a trained probe answers: the head that validation chose, beside the median head and the other seeds."""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import rate_interval
from probes.linear import NAMES, check_integers
from probes.statistics import majority_rate

Chosen = dict[str, float]
"""Hyperparameters by name."""


class Trained(NamedTuple):
    """A trained probe's answer on the test split.

    Attributes:
        score: of the head that is best on `val`, averaged over seeds; its interval takes whole groups of the test
            split for what is independent.
        seeds: the test value of each seed's choice; how far they are apart is what training's chance is worth.
        median: the test value of the head that is in the middle on `val`, averaged over seeds. The best of many
            heads far above it was luck or a narrow optimum.
        chosen: hyperparameters of each seed's choice.
    """

    score: Score
    seeds: tuple[float, ...]
    median: float
    chosen: tuple[Chosen, ...]


def choose(val: Tensor, test: Tensor, heads: list[Chosen], null: float, groups: Tensor) -> Trained:
    """Choose among H heads of S seeds by `val` (S, H), and score the choice on test rows (S, H, n).

    Args:
        val: validation scores, higher is better; of equal ones the first is taken.
        test: whether the answer to each row is right.
        heads: hyperparameters of each head.
        null: the chance level.
        groups: of the test rows (n,).
    """
    each = torch.arange(len(val))
    best, middle = val.argmax(dim=1), val.argsort(dim=1, stable=True)[:, (val.shape[1] - 1) // 2]
    rows = test[each, best].double()
    # Not a bootstrap: where every answer is right it would claim to know the rate exactly.
    around = rate_interval(rows.mean(dim=0).numpy(), groups.numpy())
    score = Score(rows.mean().item(), null, around, rows.shape[1])
    median = test[each, middle].double().mean().item()
    return Trained(score, tuple(rows.mean(dim=1).tolist()), median, tuple(heads[i] for i in best.tolist()))


def accuracy(val: Tensor, test: Tensor, labels: list[Tensor], heads: list[Chosen], groups: Tensor) -> Trained:
    """`choose` by the accuracy of predicted classes, val (S, H, n_val) and test (S, H, n); null is the majority rate.

    Args:
        val, test: predicted classes.
        labels: those of train, val and test, each (n,).
        heads: hyperparameters of each head.
        groups: of the test rows.
    """
    null = majority_rate(labels[0], labels[2])
    return choose((val == labels[1]).double().mean(dim=-1), test == labels[2], heads, null, groups)


def check_labels(*labels: Tensor) -> int:
    """The number of classes of labels (n,), integers from 0, of train, val and test.

    Raises:
        UserError: labels are not such integers, there is one class only, or a split lacks a class.
    """
    check_integers(*labels)
    classes = max(int(y.max()) for y in labels) + 1
    if classes < 2:
        raise UserError("labels: got one class only; there is nothing to tell apart, probe for something that varies")
    for name, y in zip(NAMES, labels, strict=True):
        missing = (torch.bincount(y.long(), minlength=classes) == 0).nonzero()
        if len(missing):
            raise UserError(
                f"{name} labels: class {int(missing[0])} of {classes} has no row; draw the splits so that each holds "
                "every class, or leave the class out and number the rest from 0"
            )
    return classes
