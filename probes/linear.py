"""Linear probes in closed form: what can be read from a representation by a matrix.

Every split is `(features (n, d), targets)`; splits are by episode, never by frame.
"""

from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import rate_interval
from probes.checks import check_rows
from probes.statistics import interval, majority_rate, resample_groups, shuffle_groups

Split = tuple[Tensor, Tensor]
NAMES = ("train", "val", "test")

PENALTIES = tuple(10.0**exponent for exponent in range(-6, 4))
"""Ridge penalties, in units of the mean eigenvalue of the Gram matrix."""


class ProbeScore(NamedTuple):
    """A regression probe's answer on the test split.

    Attributes:
        r2: R² averaged over targets; its null is the same probe trained on shuffled episodes.
        per_target: R² of each of k targets.
        pearson: correlation of each of k targets with its prediction.
        penalty: the chosen one of `PENALTIES`.
    """

    r2: Score
    per_target: tuple[float, ...]
    pearson: tuple[float, ...]
    penalty: float


def ridge_probe(train: Split, val: Split, test: Split, groups: Tensor | None = None, seed: int = 0) -> ProbeScore:
    """Regress targets (n, k) on features by ridge, the penalty chosen on `val`.

    Features and targets are standardised by the training split. The interval resamples whole groups
    of the test split; the null permutes the training targets by whole groups and chooses its own penalty.

    Args:
        train, val, test: features (n, d) and real targets (n, k).
        groups: episode (n_train + n_val + n_test,) of every row, in this order; None: each row its own.
        seed: of the permutation and of the resampling.

    Raises:
        UserError: shapes differ, a value is not finite, a target is constant, or splits share an episode.
    """
    train_groups, test_groups = check_splits(train, val, test, groups)
    check_targets(train, val, test)
    generator = torch.Generator().manual_seed(seed)
    x, val_x, test_x = standardise(train[0], val[0], test[0])
    y, val_y, test_y = standardise(train[1], val[1], test[1])

    def best(weights: Tensor) -> tuple[Tensor, int]:
        choice = int(r_squared(val_x @ weights, val_y).mean(dim=-1).argmax())
        return test_x @ weights[choice], choice

    shuffled = y[shuffle_groups(train_groups, generator)]
    weights, null_weights = ridge(x, torch.cat([y, shuffled], dim=1)).chunk(2, dim=-1)
    predicted, choice = best(weights)
    null = r_squared(best(null_weights)[0], test_y).mean().item()

    r2 = r_squared(predicted, test_y)
    pearson = F.cosine_similarity(predicted - predicted.mean(dim=0), test_y - test_y.mean(dim=0), dim=0)
    score = Score(r2.mean().item(), null, r2_interval(predicted, test_y, test_groups, generator), len(test_y))
    return ProbeScore(score, tuple(r2.tolist()), tuple(pearson.tolist()), PENALTIES[choice])


def ridge_classifier(train: Split, val: Split, test: Split, groups: Tensor | None = None) -> Score:
    """Accuracy of a ridge regression on one-hot labels (n,), the penalty chosen on `val`.

    The null is the rate of the most frequent training label. The interval takes whole groups of the test split for
    what is independent, and is Wilson's, so that it has a width where every answer is right.

    Args:
        train, val, test: features (n, d) and integer labels (n,), from 0. A class that training lacks is never
            answered, so its rows count as wrong.
        groups: episode of every row, as in `ridge_probe`.

    Raises:
        UserError: shapes differ, a feature is not finite, splits share an episode, labels are not integers from 0, or
            training has one class only.
    """
    test_groups = check_splits(train, val, test, groups)[1]
    check_integers(train[1], val[1], test[1])
    if (train[1] == train[1][0]).all():
        raise UserError(f"train labels: got class {int(train[1][0])} only; there is nothing to tell apart")
    x, val_x, test_x = standardise(train[0], val[0], test[0])
    one_hot = F.one_hot(train[1].long()).double()
    offset = one_hot.mean(dim=0)
    weights = ridge(x, one_hot - offset)
    accuracy = ((val_x @ weights + offset).argmax(dim=-1) == val[1]).double().mean(dim=-1)
    correct = ((test_x @ weights[int(accuracy.argmax())] + offset).argmax(dim=-1) == test[1]).double()
    around = rate_interval(correct.numpy(), test_groups.numpy())
    return Score(correct.mean().item(), majority_rate(train[1], test[1]), around, len(correct))


def ridge(x: Tensor, y: Tensor, penalties: tuple[float, ...] = PENALTIES) -> Tensor:
    """Ridge weights (P, d, k) of centred x (n, d) and y (n, k), for P penalties.

    Each minimises ||x w - y||² + penalty * s * ||w||², s being the mean eigenvalue of the smaller of
    the two Gram matrices, x'x (d, d) or xx' (n, n); that one is factorised.
    """
    primal = x.shape[1] <= len(x)
    gram, right = (_gram(x.T), x.T @ y) if primal else (_gram(x), y)
    scale = gram.diagonal().mean()
    # Features that do not vary at all get the weights 0, not a singular matrix.
    scale = torch.where(scale > 0, scale, 1.0)
    solutions = []
    # One Cholesky factor for each penalty: ten cost less than one eigendecomposition of the same matrix.
    for penalty in penalties:
        shifted = gram.clone()
        shifted.diagonal().add_(penalty * scale)
        solutions.append(torch.cholesky_solve(right, torch.linalg.cholesky(shifted)))
    if primal:
        return torch.stack(solutions)
    # One product for all penalties: wide features are read once.
    return torch.stack((x.T @ torch.cat(solutions, dim=1)).chunk(len(solutions), dim=1))


def _gram(x: Tensor, block: int = 512) -> Tensor:
    """The lower triangle, all that Cholesky reads, of x x' for x (n, d): half the work of the whole."""
    gram = x.new_zeros(len(x), len(x))
    for start in range(0, len(x), block):
        end = min(start + block, len(x))
        gram[start:end, :end] = x[start:end] @ x[:end].T
    return gram


def r_squared(predicted: Tensor, y: Tensor) -> Tensor:
    """R² (..., k) of predictions (..., n, k) of y (n, k); 0 is what the mean of these y would score."""
    error = (predicted - y).square().sum(dim=-2)
    return 1 - error / (y - y.mean(dim=0)).square().sum(dim=0)


def r2_interval(predicted: Tensor, y: Tensor, groups: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """The interval of the mean R² over resampled groups (n,); draws whose targets do not vary are left out."""
    rows = torch.stack([torch.ones_like(y), y, y.square(), (predicted - y).square()], dim=-1)
    sums = resample_groups(rows.flatten(1), groups, generator).unflatten(1, rows.shape[1:])
    count, total, squares, error = sums.unbind(dim=-1)
    variation = squares - total.square() / count
    varies = (variation > 1e-9 * count).all(dim=-1)
    return interval((1 - error / variation)[varies].mean(dim=-1))


def standardise(train: Tensor, *others: Tensor) -> list[Tensor]:
    """Float64 splits (n, d) in units of the training split's mean and deviation; constant columns become 0."""
    reference = train.double()
    mean, std = reference.mean(dim=0), reference.std(dim=0)
    scale = torch.where(std > torch.finfo(torch.float32).eps * mean.abs(), 1 / std, 0.0)
    return [(split.double() - mean) * scale for split in (train, *others)]


def check_targets(*splits: Split) -> None:
    """Ask that targets (n, k) of every split are finite and vary.

    Raises:
        UserError: one does not.
    """
    for name, (_, y) in zip(NAMES, splits, strict=True):
        check_rows(f"{name} targets", y)
        constant = (y == y[0]).all(dim=0)
        if constant.any():
            column = int(constant.nonzero()[0])
            raise UserError(f"{name} targets: column {column} is constant, so its R² has no meaning; leave it out")


def check_integers(*labels: Tensor) -> None:
    """Ask that labels (n,) of train, val and test are integers from 0.

    Raises:
        UserError: some are not.
    """
    for name, y in zip(NAMES, labels, strict=True):
        if y.ndim != 1 or y.is_floating_point() or y.is_complex() or not len(y) or int(y.min()) < 0:
            kind = f"{y.dtype} {tuple(y.shape)}"
            raise UserError(f"{name} labels: got {kind}; expected integers (n,) from 0, one for each row")


def check_splits(train: Split, val: Split, test: Split, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Check the splits and return the groups of the training and of the test rows.

    Raises:
        UserError: shapes differ, a feature is not finite, or splits share an episode.
    """
    for name, (x, y) in zip(NAMES, (train, val, test), strict=True):
        check_rows(f"{name} features", x, least=2)
        if len(x) != len(y):
            raise UserError(f"{name}: got {len(x)} rows of features and {len(y)} of targets, expected as many")
    sizes = [len(train[1]), len(val[1]), len(test[1])]
    groups = torch.arange(sum(sizes)) if groups is None else groups
    if groups.shape != (sum(sizes),):
        raise UserError(
            f"groups: got shape {tuple(groups.shape)}, expected the episode of each of the {sizes} "
            f"train, val and test rows in one tensor, ({sum(sizes)},)"
        )
    parts = dict(zip(NAMES, groups.split(sizes), strict=True))
    for one, other in combinations(NAMES, 2):
        shared = parts[one][torch.isin(parts[one], parts[other])]
        if len(shared):
            raise UserError(f"episode {shared[0].item()} is in {one} and in {other}; split by episode, not by frame")
    return parts["train"], parts["test"]
