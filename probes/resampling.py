"""Intervals and chance levels of a metric of two layers: the jackknife and permutations.

The jackknife leaves out blocks of consecutive rows, so that an episode's rows are left out together.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

BLOCKS = 20


def spans(n: int) -> list[slice]:
    """At most 20 blocks of consecutive rows, at least 2 where n is, that cover n rows; the last may be shorter."""
    size = math.ceil(n / BLOCKS)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def left_out(n: int) -> Iterator[Tensor]:
    """The rows (m,) that stay when each block of n rows is left out."""
    rows = torch.arange(n)
    for span in spans(n):
        yield torch.cat([rows[: span.start], rows[span.stop :]])


def interval(value: float, refits: Sequence[float]) -> tuple[float, float]:
    """`value` +- 1.96 standard errors of the jackknife, from its refits without each block."""
    values = torch.tensor(refits, dtype=torch.float64)
    error = 1.96 * ((len(values) - 1) * values.var(correction=0)).sqrt().item()
    return value - error, value + error


def interval_of(value: float, refit: Callable[[Tensor], float], n: int) -> tuple[float, float]:
    """The interval of `value`, whose statistic on some rows (m,) of the n is `refit(rows)`."""
    return interval(value, [refit(rows) for rows in left_out(n)])


def orders(n: int, draws: int) -> list[Tensor]:
    """Random orders (n,) of n rows, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(n, generator=generator) for _ in range(draws)]


def null_of(relabelled: Callable[[Tensor], float], n: int, draws: int = 20) -> float:
    """The mean of `relabelled(order (n,))` over random orders of the rows of one layer."""
    return sum(relabelled(order) for order in orders(n, draws)) / draws
