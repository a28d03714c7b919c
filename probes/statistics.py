"""Chance levels and intervals of probes, by whole episodes where rows are not independent."""

import torch
from torch import Tensor


def majority_rate(train_labels: Tensor, test_labels: Tensor) -> float:
    """Accuracy on test of always answering the label (integers) that is most frequent in training."""
    return (test_labels == train_labels.mode().values).double().mean().item()


def shuffle_groups(groups: Tensor, generator: torch.Generator) -> Tensor:
    """An order (n,) of rows that permutes groups (n,) and keeps each group's rows together, in their order.

    Where rows of an episode resemble each other, shuffling single rows would make too easy a null.
    """
    index = torch.unique(groups, return_inverse=True)[1]
    rank = torch.randperm(int(index.max()) + 1, generator=generator)
    return rank[index].argsort(stable=True)


def resample_groups(rows: Tensor, groups: Tensor, generator: torch.Generator, draws: int = 1000) -> Tensor:
    """Sums of rows (n, s) over a bootstrap of whole groups (n,): (draws, s).

    Valid for statistics that are functions of sums; not for neighbours, since a row drawn twice is
    its own nearest neighbour.
    """
    index = torch.unique(groups, return_inverse=True)[1]
    count = int(index.max()) + 1
    sums = torch.zeros(count, rows.shape[1], dtype=rows.dtype).index_add_(0, index, rows)
    picks = torch.randint(count, (draws, count), generator=generator)
    times = torch.zeros(draws, count, dtype=rows.dtype).scatter_add_(1, picks, torch.ones_like(picks, dtype=rows.dtype))
    return times @ sums


def interval(samples: Tensor) -> tuple[float, float]:
    """The central 95 % of samples (n,)."""
    low, high = torch.quantile(samples, torch.tensor([0.025, 0.975], dtype=samples.dtype)).tolist()
    return low, high


def crossed_interval(values: Tensor, generator: torch.Generator, draws: int = 1000) -> tuple[float, float]:
    """The interval of the mean of values (s, e) over resampled rows and resampled columns.

    Rows are trainings, columns the episodes that each of them is measured on. One that is hard is so for all of them,
    so a draw takes the same columns for all rows; columns drawn anew for each row would make the interval too narrow.
    """
    rows, columns = (torch.randint(size, (draws, size), generator=generator) for size in values.shape)
    return interval(values[rows[:, :, None], columns[:, None, :]].mean(dim=(1, 2)))
