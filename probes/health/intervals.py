"""Intervals of what is no mean: leave a block of episodes out, and see how far the answer moves."""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import student

BLOCKS = 20

Statistic = Callable[[Tensor], float]


def jackknife(
    statistic: Statistic, x: Tensor, groups: Tensor | None = None, blocks: int = BLOCKS
) -> tuple[float, float]:
    """An interval of 95 % of a statistic of x (n, ...), by leaving out each of some blocks of whole groups (n,).

    Nothing is drawn twice, so that it holds where a bootstrap fails: two equal rows lower a rank and are each other's
    neighbours.

    Args:
        statistic: rows -> a number.
        x: rows.
        groups: episode of each row; None: each row its own.
        blocks: into how many parts of about equal size episodes are put, in their order; as many as episodes at most.

    Raises:
        UserError: fewer than 2 groups.

    Source: the delete-a-group jackknife, with Student's quantile.
    """
    index = torch.arange(len(x)) if groups is None else torch.unique(groups, return_inverse=True)[1]
    count = int(index.max()) + 1
    if count < 2:
        raise UserError(f"jackknife: got {count} group; expected at least 2 episodes, of which one can be left out")
    blocks = min(blocks, count)
    block = index * blocks // count
    left = torch.tensor([statistic(x[block != i]) for i in range(blocks)], dtype=torch.float64)
    error = sqrt((blocks - 1) / blocks * (left - left.mean()).square().sum().item())
    value, half = statistic(x), student(blocks - 1) * error
    return value - half, value + half


def scored(
    statistic: Statistic, x: Tensor, groups: Tensor | None = None, null: Tensor | None = None, seed: int = 0
) -> Score:
    """A statistic of x (n, ...) with its interval, and what it says of rows that know nothing.

    Args:
        statistic: rows -> a number.
        x: rows.
        groups: as of `jackknife`.
        null: rows in which there is nothing to be found; Gaussian noise of the shape of x if none are given. What
            noise scores is not d: so few rows fill no more dimensions.
        seed: of the noise.
    """
    if null is None:
        null = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Score(statistic(x), statistic(null), jackknife(statistic, x, groups), len(x))
