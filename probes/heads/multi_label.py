"""Several labels a sample: one logistic regression for each, and their mean average precision."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import wilson
from probes.checks import check_rows
from probes.heads.lbfgs import minimise
from probes.heads.logistic import Basis, Fitted
from probes.linear import NAMES, Split, check_splits, standardise
from probes.statistics import interval, resample_groups

PENALTIES = tuple(10.0 ** (-6 + 11 * i / 11) for i in range(12))
"""Twelve values of C, from 1e-6 to 1e5."""
DRAWS = 200


class MultiLabel(NamedTuple):
    """A multi-label probe's answer on the test split.

    Attributes:
        score: mean average precision over labels; its null is the mean prevalence, which random scores reach.
        per_label: average precision of each of K labels.
        median: mean average precision of the penalty that is in the middle on `val`.
        c: the chosen one, for all labels.
    """

    score: Score
    per_label: tuple[float, ...]
    median: float
    c: float


def multi_label_probe(
    train: Split,
    val: Split,
    test: Split,
    groups: Tensor | None = None,
    c: tuple[float, ...] = PENALTIES,
    seed: int = 0,
) -> MultiLabel:
    """Mean average precision of one logistic regression for each label, C chosen on `val`.

    Args:
        train, val, test: features (n, d), and labels (n, K), each 0 or 1.
        groups: episode (n_train + n_val + n_test,) of every row, in this order; None: each row its own.
        c: the grid, ascending.
        seed: of the resampling.

    Raises:
        UserError: shapes differ, a feature is not finite, splits share an episode, or a label is not 0 or 1, or the
            same for all rows of a split.

    Source: the measure of CLIP_benchmark (official code), there of zero-shot scores.
    """
    test_groups = check_splits(train, val, test, groups)[1]
    y, val_y, test_y = _check_labels(train[1], val[1], test[1])
    x, val_x, test_x = standardise(train[0], val[0], test[0])
    fitted = one_vs_rest(x, y, c)
    means = torch.stack([average_precision(scores, val_y).mean() for scores in fitted.logits(val_x)])
    best, middle = int(means.argmax()), int(means.argsort(stable=True)[(len(c) - 1) // 2])
    scores = fitted.logits(test_x)
    precision = average_precision(scores[best], test_y)
    around = _interval(scores[best], test_y, test_groups, torch.Generator().manual_seed(seed))
    score = Score(precision.mean().item(), test_y.mean().item(), around, len(test_y))
    median = average_precision(scores[middle], test_y).mean().item()
    return MultiLabel(score, tuple(precision.tolist()), median, c[best])


def one_vs_rest(x: Tensor, y: Tensor, c: tuple[float, ...], tolerance: float = 1e-8, steps: int = 1000) -> Fitted:
    """Logistic regressions of labels (n, K), 0. or 1., on centred float64 features (n, d), for every C.

    Each minimises C * (sum of cross-entropies) + ||weights||² / 2, without a penalty on the bias. All K labels and all
    penalties are solved at once; `gradient` is then that of the worst label.
    """
    n, labels = len(x), y.shape[1]
    basis = Basis(x, c, bound=0.25)
    answers, sides = y.T, 1 - 2 * y.T

    def objective(points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        penalty, label = which // labels, which % labels
        unit, decay = basis.scale[penalty], basis.decay[penalty]
        weights = points * unit
        logits = weights @ basis.z.T
        value = F.softplus(sides[label] * logits).mean(dim=1) + 0.5 * (decay * weights.square()).sum(dim=1)
        slope = (logits.sigmoid() - answers[label]) @ basis.z / n
        return value, (slope + decay * weights) * unit

    points, gradient = minimise(objective, x.new_zeros(len(c) * labels, basis.z.shape[1]), tolerance, steps)
    weights = points.view(len(c), labels, -1).transpose(1, 2) * basis.scale[:, :, None]
    return Fitted(*basis.back(weights), gradient.view(len(c), labels).amax(dim=1))


def average_precision(scores: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average precision (K,) of scores (n, K) for labels (n, K), 0. or 1.: the sum of precision * rise of recall.

    Rows of the same score come into the ranking together, so their order does not matter.

    Args:
        scores: higher for what is more likely.
        y: the labels.
        weights: of the rows (n,); None: each counts once. Where no row that counts has a label it is NaN.
    """
    counts = torch.ones(len(y), dtype=torch.float64) if weights is None else weights.double()
    ranked, order = scores.sort(dim=0, descending=True)
    seen = counts[order].cumsum(dim=0)
    hits = (counts[order] * y.double().gather(0, order)).cumsum(dim=0)
    last = torch.cat([ranked[1:] != ranked[:-1], torch.ones_like(ranked[:1], dtype=torch.bool)])
    precision = torch.where(seen > 0, hits / seen.clamp(min=1e-12), 0.0)
    # Recall rises only where a run of equal scores ends: from the hits that the run before it ended with.
    ended = torch.where(last, hits, 0.0).cummax(dim=0).values
    rise = hits - torch.cat([torch.zeros_like(hits[:1]), ended[:-1]])
    return (torch.where(last, precision * rise, 0.0)).sum(dim=0) / hits[-1]


def _interval(scores: Tensor, y: Tensor, groups: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """The interval of the mean over resampled whole groups (n,), of the labels that occur in a draw.

    A row that is drawn twice counts twice, which a ranking allows and neighbours would not. But where every positive is
    ranked first it is so in every draw, which would claim to know the precision exactly. So the interval reaches at
    least as low as Wilson's would, each label's precision being a rate over the groups that hold the label.
    """
    index = torch.unique(groups, return_inverse=True)[1]
    members = torch.eye(int(index.max()) + 1, dtype=torch.float64)
    times = resample_groups(members, torch.arange(len(members)), generator, DRAWS)[:, index]
    precision = torch.stack([average_precision(scores, y, weights) for weights in times])
    drawn = precision.nanmean(dim=1)
    low, high = interval(drawn[drawn.isfinite()])
    trials = y.new_zeros(len(members), y.shape[1]).index_add_(0, index, y).count_nonzero(dim=0).tolist()
    found = average_precision(scores, y).clamp(max=1)
    least = torch.tensor([wilson(rate * n, n)[0] for rate, n in zip(found.tolist(), trials, strict=True)]).to(found)
    # Errors of labels add up as those of independent ones; where they are not, draws of whole rows say so.
    return min(low, found.mean().item() - (found - least).norm().item() / len(found)), high


def _check_labels(*labels: Tensor) -> list[Tensor]:
    """The labels as float64."""
    for name, y in zip(NAMES, labels, strict=True):
        check_rows(f"{name} labels", y)
        if y.shape[1] != labels[0].shape[1] or not ((y == 0) | (y == 1)).all():
            raise UserError(
                f"{name} labels: got {tuple(y.shape)}; expected (n, K), each 0 or 1, K of them in each split"
            )
        same = (y == y[0]).all(dim=0).nonzero()
        if len(same):
            raise UserError(
                f"{name} labels: label {int(same[0])} is the same for all rows; draw the splits so that each has rows "
                "with and without it, or leave it out"
            )
    return [y.double() for y in labels]
