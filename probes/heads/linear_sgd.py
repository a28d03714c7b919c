"""A linear classifier by SGD, at many learning rates in one pass over the features."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from probes.heads.outcome import Trained, accuracy, check_labels
from probes.linear import Split, check_splits, standardise

RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
"""DINOv3's thirteen learning rates, for a batch of 256."""
MOMENTUM = 0.9


class Sgd(NamedTuple):
    """How the heads are trained.

    Attributes:
        rates: learning rates at a batch of 256; they grow with the batch.
        steps: of each head.
        batch: rows a step.
        seeds: of the first weights and of the order of rows, for one training of all rates each.
    """

    rates: tuple[float, ...] = RATES
    steps: int = 2500
    batch: int = 128
    seeds: tuple[int, ...] = (0, 1, 2)


def sgd_probe(
    train: Split, val: Split, test: Split, groups: Tensor | None = None, recipe: Sgd | None = None
) -> Trained:
    """Accuracy of a linear classifier trained by SGD, the learning rate chosen on `val`.

    Args:
        train, val, test: features (n, d), and integer labels (n,) from 0.
        groups: episode (n_train + n_val + n_test,) of every row, in this order; None: each row its own.
        recipe: how the heads are trained.

    Raises:
        UserError: shapes differ, a feature is not finite, splits share an episode, or one lacks a class.

    Source: DINOv3's protocol (arXiv 2508.10104, official code): momentum .9, no decay, cosine to 0, weights from
    N(0, .01), all rates at once. Here features are cached, without augmentation, and standardised, so that one grid
    serves any encoder; 2500 steps stand for its 12 500; the choice is made on `val` where it is made on what is
    reported.
    """
    recipe = recipe or Sgd()
    test_groups = check_splits(train, val, test, groups)[1]
    labels = [train[1], val[1], test[1]]
    classes = check_labels(*labels)
    dtype = train[0].dtype if train[0].dtype == torch.float64 else torch.float32
    x, val_x, test_x = (with_bias(split.to(dtype)) for split in standardise(train[0], val[0], test[0]))
    weights = torch.stack([sweep(x, F.one_hot(labels[0].long(), classes), recipe, seed) for seed in recipe.seeds])
    guessed, predicted = ((weights @ split.T).argmax(dim=-2) for split in (val_x, test_x))
    return accuracy(guessed, predicted, labels, [{"rate": rate} for rate in recipe.rates], test_groups)


def with_bias(x: Tensor) -> Tensor:
    """Features (n, d) and a column of ones (n, d + 1)."""
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def sweep(x: Tensor, one_hot: Tensor, recipe: Sgd, seed: int) -> Tensor:
    """Train a head for every rate on x (n, d), whose last column is 1, and one-hot labels (n, C) -> (H, C, d).

    Weights of all heads are one matrix, so a batch is read once. They begin as the same ones and see the same batches.
    """
    generator = torch.Generator().manual_seed(seed)
    heads, classes, batch = len(recipe.rates), one_hot.shape[1], min(recipe.batch, len(x))
    first = 0.01 * torch.randn(classes, x.shape[1], generator=generator, dtype=x.dtype)
    first[:, -1] = 0
    weights = first.repeat(heads, 1)
    velocity = torch.zeros_like(weights)
    rates = torch.tensor(recipe.rates, dtype=x.dtype).repeat_interleave(classes)[:, None] * (batch / 256)
    # Classes before rows, everywhere: softmax over the last of few columns would cost as much as the products.
    answers = one_hot.T.to(x.dtype).contiguous()
    for step, rows in enumerate(_batches(len(x), batch, recipe.steps, generator)):
        seen = x.index_select(0, rows)
        error = (weights @ seen.T).view(heads, classes, batch).softmax(dim=1).sub_(answers.index_select(1, rows))
        velocity.addmm_(error.view(heads * classes, batch), seen, beta=MOMENTUM, alpha=1 / batch)
        weights.addcmul_(velocity, rates, value=-0.5 * (1 + math.cos(math.pi * step / recipe.steps)))
    return weights.view(heads, classes, -1)


def _batches(n: int, batch: int, steps: int, generator: torch.Generator) -> Tensor:
    """Rows (steps, batch) of epochs that follow each other, each in an order of its own."""
    epochs = -(-steps * batch // n)
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(epochs)])
    return order[: steps * batch].view(steps, batch)
