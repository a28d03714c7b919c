"""Logistic regression over a grid of penalties, all of them at once."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from probes.heads.lbfgs import minimise
from probes.heads.outcome import Trained, accuracy, check_labels
from probes.linear import Split, check_splits, standardise

GRID = tuple(10.0 ** (-6 + 11 * i / 44) for i in range(45))
"""DINOv3's 45 values of C, from 1e-6 to 1e5."""


class Fitted(NamedTuple):
    """Linear classifiers, one for each of P values of C.

    Attributes:
        weights: (P, d, K) for K classes or labels.
        bias: (P, K).
        gradient: the greatest entry of the objective's gradient at each (P,), in the units of `Basis.scale`.
    """

    weights: Tensor
    bias: Tensor
    gradient: Tensor

    def logits(self, x: Tensor) -> Tensor:
        """Logits (P, n, K) of features (n, d)."""
        return x @ self.weights + self.bias[:, None]


class Basis:
    """Features (n, d) along their principal axes, and a constant.

    A penalty on the square of all weights is the same along any axes. Along these the logistic loss's curvature has a
    bound that is diagonal, `bound` times the features' variances (Böhning 1992), so each variable can be measured
    in units that make every penalty's problem a well-conditioned one. Axes without variance have weight 0 and are left
    out.

    Args:
        x: features, float64, centred.
        c: values of C (P,).
        bound: on the second derivative of the loss in the logits: 1/2 for softmax, 1/4 for the sigmoid.

    Attributes:
        z: the coordinates, r of them and a 1 (n, r + 1).
        decay: of the squared weights, over 2, in units of the mean loss (P, r + 1).
        scale: the unit of each variable (P, r + 1).

    Source: the bound is Böhning's (Ann. Inst. Stat. Math. 44, 1992).
    """

    def __init__(self, x: Tensor, c: tuple[float, ...], bound: float) -> None:
        n, d = x.shape
        variance, axes = torch.linalg.eigh((x.T @ x if d <= n else x @ x.T) / n)
        kept = variance > 1e-12 * variance[-1].clamp(min=torch.finfo(x.dtype).tiny)
        variance, axes = variance[kept], axes[:, kept]
        self.axes = axes if d <= n else x.T @ axes / (variance * n).sqrt()
        one = torch.ones(n, 1, dtype=x.dtype)
        self.z = torch.cat([x @ self.axes, one], dim=1)
        penalty = 1 / (torch.tensor(c, dtype=x.dtype) * n)
        self.decay = torch.cat([penalty[:, None].expand(-1, len(variance)), torch.zeros(len(c), 1)], dim=1)
        self.scale = (bound * torch.cat([variance, variance.new_ones(1)]) + self.decay).rsqrt()

    def back(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (P, r + 1, K) of the coordinates -> weights (P, d, K) of the features, and the bias (P, K)."""
        return self.axes @ weights[:, :-1], weights[:, -1]


def logistic(
    x: Tensor, labels: Tensor, c: tuple[float, ...] = GRID, tolerance: float = 1e-8, steps: int = 1000
) -> Fitted:
    """Softmax regression of labels (n,) on centred float64 features (n, d), for every C.

    Each minimises C * (sum of cross-entropies) + ||weights||² / 2, without a penalty on the bias, as scikit-learn's
    LogisticRegression does for three classes and more. With two, its weights count twice as much: it has one vector
    where softmax has two of opposite sign.
    """
    n = len(x)
    basis, one_hot = Basis(x, c, bound=0.5), F.one_hot(labels.long()).to(x.dtype)
    classes = one_hot.shape[1]

    def objective(points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        unit, decay = basis.scale[which, :, None], basis.decay[which, :, None]
        weights = points.view(len(which), -1, classes) * unit
        # One product for all penalties: the features are read once.
        logits = (basis.z @ weights.transpose(0, 1).flatten(1)).view(n, len(which), classes)
        logp = logits.log_softmax(dim=-1)
        value = -(logp * one_hot[:, None]).sum(dim=(0, 2)) / n + 0.5 * (decay * weights.square()).sum(dim=(1, 2))
        error = (logp.exp() - one_hot[:, None]).flatten(1) / n
        slope = (basis.z.T @ error).view(-1, len(which), classes).transpose(0, 1)
        return value, ((slope + decay * weights) * unit).flatten(1)

    start = x.new_zeros(len(c), basis.z.shape[1] * classes)
    points, gradient = minimise(objective, start, tolerance, steps)
    weights = points.view(len(c), -1, classes) * basis.scale[:, :, None]
    return Fitted(*basis.back(weights), gradient)


def logistic_probe(
    train: Split,
    val: Split,
    test: Split,
    groups: Tensor | None = None,
    c: tuple[float, ...] = GRID,
    refit: bool = False,
) -> Trained:
    """Accuracy of logistic regression, C chosen on `val`.

    Args:
        train, val, test: features (n, d), and integer labels (n,) from 0.
        groups: episode (n_train + n_val + n_test,) of every row, in this order; None: each row its own.
        c: the grid, ascending: of those that are equally good on `val` the strongest penalty is taken.
        refit: train what was chosen again, and the median head too, on train and val together.

    Raises:
        UserError: shapes differ, a feature is not finite, splits share an episode, or one lacks a class.

    Source: DINOv3's protocol (arXiv 2508.10104, official code), which hands scikit-learn one C after the other. Here
    features are standardised by the training split.
    """
    test_groups = check_splits(train, val, test, groups)[1]
    labels = [train[1], val[1], test[1]]
    check_labels(*labels)
    x, val_x, test_x = standardise(train[0], val[0], test[0])
    fitted = logistic(x, labels[0], c)
    guessed = fitted.logits(val_x).argmax(dim=-1)
    if refit:
        both, test_x = standardise(torch.cat([train[0], val[0]]), test[0])
        fitted = logistic(both, torch.cat(labels[:2]), c)
    predicted = fitted.logits(test_x).argmax(dim=-1)
    return accuracy(guessed[None], predicted[None], labels, [{"c": value} for value in c], test_groups)
