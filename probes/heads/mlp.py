"""A multilayer perceptron of two layers: what is in a representation, though no matrix reads it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.contracts import Score
from probes.heads.outcome import Trained, accuracy, check_labels
from probes.linear import Split, check_splits, check_targets, r2_interval, r_squared, standardise
from probes.statistics import shuffle_groups

Weights = list[Tensor]
"""Of M perceptrons: (M, d, h), (M, 1, h), (M, h, k), (M, 1, k)."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""Answers (M, n, k) and targets (M, n, ...) -> the mean loss of each perceptron (M,)."""


class Mlp(NamedTuple):
    """How perceptrons are trained: AdamW, until `val` has not become better for a while.

    Attributes:
        hidden: width of the layer between.
        rate: learning rate.
        decay: AdamW's weight decay.
        batch: rows a step.
        epochs: at most.
        patience: epochs without a lower loss on `val` after which training ends; the best weights are kept.
        seeds: of the first weights and of the order of rows, one perceptron each.
    """

    hidden: int = 256
    rate: float = 1e-3
    decay: float = 1e-2
    batch: int = 128
    epochs: int = 100
    patience: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)


def mlp_classifier(
    train: Split, val: Split, test: Split, groups: Tensor | None = None, recipe: Mlp | None = None
) -> Trained:
    """Accuracy of a perceptron, stopped by its cross-entropy on `val`.

    Args:
        train, val, test: features (n, d), and integer labels (n,) from 0.
        groups: episode (n_train + n_val + n_test,) of every row, in this order; None: each row its own.
        recipe: how it is trained.

    Raises:
        UserError: shapes differ, a feature is not finite, splits share an episode, or one lacks a class.
    """
    recipe = recipe or Mlp()
    test_groups = check_splits(train, val, test, groups)[1]
    classes = check_labels(train[1], val[1], test[1])
    labels = [train[1].long(), val[1].long(), test[1].long()]
    x, val_x, test_x = (split.float() for split in standardise(train[0], val[0], test[0]))
    count = len(recipe.seeds)

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(dim=1)

    weights, best = fit(x, labels[0].expand(count, -1), val_x, labels[1].expand(count, -1), classes, loss, recipe)
    guessed, predicted = (
        forward(weights, split.expand(count, -1, -1)).argmax(dim=-1)[:, None] for split in (val_x, test_x)
    )
    found = accuracy(guessed, predicted, labels, [{}], test_groups)
    return found._replace(chosen=tuple({"epoch": float(epoch)} for epoch in best.tolist()))


def mlp_regression(
    train: Split, val: Split, test: Split, groups: Tensor | None = None, recipe: Mlp | None = None, seed: int = 0
) -> Trained:
    """R², averaged over targets, of a perceptron, stopped by its squared error on `val`.

    Its null is that of perceptrons trained on targets that were permuted by whole groups. There is one head, so the
    median is that of the seeds.

    Args:
        train, val, test: features (n, d) and real targets (n, k).
        groups: episode (n_train + n_val + n_test,) of every row, in this order; None: each row its own.
        recipe: how it is trained.
        seed: of the permutations and of the resampling.

    Raises:
        UserError: shapes differ, a value is not finite, a target is constant, or splits share an episode.
    """
    recipe = recipe or Mlp()
    train_groups, test_groups = check_splits(train, val, test, groups)
    check_targets(train, val, test)
    x, val_x, test_x = (split.float() for split in standardise(train[0], val[0], test[0]))
    y, val_y, test_y = standardise(train[1], val[1], test[1])
    generator = torch.Generator().manual_seed(seed)
    count = len(recipe.seeds)
    shuffled = [y[shuffle_groups(train_groups, generator)] for _ in recipe.seeds]

    def loss(predicted: Tensor, y: Tensor) -> Tensor:
        return (predicted - y).square().mean(dim=(1, 2))

    targets = torch.stack([y] * count + shuffled).float()
    doubled = recipe._replace(seeds=recipe.seeds * 2)
    weights, best = fit(x, targets, val_x, val_y.float().expand(2 * count, -1, -1), y.shape[1], loss, doubled)
    predicted, blind = forward(weights, test_x.expand(2 * count, -1, -1)).double().chunk(2)
    values = r_squared(predicted, test_y).mean(dim=1)
    null = r_squared(blind, test_y).mean().item()
    # The squared error of a mean of predictions would be less than any seed's: seeds stand as further targets instead.
    wide = predicted.transpose(0, 1).flatten(1)
    around = r2_interval(wide, test_y.repeat(1, count), test_groups, generator)
    chosen = tuple({"epoch": float(epoch)} for epoch in best[:count].tolist())
    score = Score(values.mean().item(), null, around, len(test_y))
    return Trained(score, tuple(values.tolist()), values.median().item(), chosen)


def forward(weights: Weights, x: Tensor) -> Tensor:
    """Features (M, n, d), those of each perceptron -> answers (M, n, k)."""
    first, first_bias, second, second_bias = weights
    return torch.baddbmm(second_bias, F.gelu(torch.baddbmm(first_bias, x, first)), second)


def fit(
    x: Tensor, y: Tensor, val_x: Tensor, val_y: Tensor, outputs: int, loss: Loss, recipe: Mlp
) -> tuple[Weights, Tensor]:
    """Train M perceptrons side by side, each as if alone.

    Args:
        x, val_x: features (n, d) that all of them see.
        y, val_y: targets (M, n, ...) of each.
        outputs: k.
        loss: what each minimises, and is stopped by.
        recipe: one seed for each of them.

    Returns:
        Each one's weights after the epoch that was best on `val`, and that epoch (M,), from 0.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in recipe.seeds]
    weights = [part.requires_grad_() for part in _initial(x.shape[1], recipe.hidden, outputs, generators)]
    optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=recipe.decay)
    kept = [part.detach().clone() for part in weights]
    count, batch = len(recipe.seeds), min(recipe.batch, len(x))
    each, seen = torch.arange(count)[:, None], val_x.expand(count, -1, -1)
    lowest, best = torch.full((count,), torch.inf), torch.zeros(count, dtype=torch.long)
    for epoch in range(recipe.epochs):
        order = torch.stack([torch.randperm(len(x), generator=generator) for generator in generators])
        for rows in order[:, : len(x) // batch * batch].split(batch, dim=1):
            optimiser.zero_grad()
            # A sum, so that no perceptron's gradient depends on how many there are.
            loss(forward(weights, x[rows]), y[each, rows]).sum().backward()
            optimiser.step()
        with torch.no_grad():
            value = loss(forward(weights, seen), val_y)
            # One that has run out of patience is done, also where others train on.
            waiting = epoch - best <= recipe.patience
            better = waiting & (value < lowest)
            lowest, best = torch.where(better, value, lowest), torch.where(better, epoch, best)
            for part, new in zip(kept, weights, strict=True):
                part[better] = new[better]
        if not waiting.any():
            break
    return kept, best


def _initial(inputs: int, hidden: int, outputs: int, generators: list[torch.Generator]) -> Weights:
    """Weights uniform within 1 / sqrt(inputs of the layer), as torch.nn.Linear has them; biases 0."""
    weights = []
    for rows, columns in ((inputs, hidden), (hidden, outputs)):
        draws = [torch.rand(rows, columns, generator=generator) for generator in generators]
        weights += [(2 * torch.stack(draws) - 1) / rows**0.5, torch.zeros(len(generators), 1, columns)]
    return weights
