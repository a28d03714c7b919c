"""Orders of rows that are equally likely where two representations have nothing to do with each other."""

import math

import torch
from torch import Tensor

from jepa_wm.errors import UserError

FEWEST = 20
"""Arrangements without which no p-value can reach .05."""


def orders(n: int, count: int, groups: Tensor | None = None, seed: int = 0) -> Tensor:
    """Random orders (count, n) of n rows, of single rows or of whole groups.

    Frames of an episode resemble each other, and rows shuffled one by one break that: agreement of the mere course of
    episodes then passes for alignment. Whole groups are exchanged with groups of the same number of rows, first row for
    first row, so each order keeps every group together and in its order.

    Args:
        n: rows.
        count: orders.
        groups: the episode of each row, integers (n,); None where rows are independent.
        seed: of the generator.

    Raises:
        UserError: groups do not cover the rows, one has no other of its length to change places with, or there
            are fewer than 20 arrangements.
    """
    generator = torch.Generator().manual_seed(seed)
    if groups is None:
        return torch.stack([torch.randperm(n, generator=generator) for _ in range(count)])
    exchangeable = _by_length(groups, n)
    result = torch.arange(n).repeat(count, 1)
    for order in result:
        for rows in exchangeable:
            order[rows] = rows[torch.randperm(len(rows), generator=generator)]
    return result


def blocks_of_rows(n: int, groups: Tensor | None = None, most: int = 20) -> list[Tensor]:
    """Up to `most` blocks of neighbouring rows, of whole groups where there are groups: indices of rows each.

    Raises:
        UserError: there are fewer than 4 rows or groups.
    """
    index = torch.arange(n) if groups is None else torch.unique(groups, return_inverse=True)[1]
    units = int(index.max()) + 1
    if units < 4:
        raise UserError(f"groups: got {units}, expected at least 4 for an interval; measure more episodes")
    block = torch.arange(units) * min(most, units) // units
    return [(block[index] == number).nonzero()[:, 0] for number in range(min(most, units))]


def _by_length(groups: Tensor, n: int) -> list[Tensor]:
    """The rows of groups of one length, a matrix (groups, length) for each length."""
    if groups.shape != (n,):
        raise UserError(f"groups: got shape {tuple(groups.shape)}, expected the episode of each of {n} rows, ({n},)")
    index, lengths = torch.unique(groups, return_inverse=True, return_counts=True)[1:]
    rows = index.argsort(stable=True).split(lengths.tolist())
    sorts = [torch.stack([r for r in rows if len(r) == length]) for length in lengths.unique().tolist()]
    alone = sorted(matrix.shape[1] for matrix in sorts if len(matrix) == 1)
    if alone:
        raise UserError(
            f"groups: those of {', '.join(map(str, alone))} rows have no other of their length to change places with; "
            "cut the episodes to one length (probes.alignment.permute.same_length)"
        )
    if math.prod(math.factorial(min(len(matrix), FEWEST)) for matrix in sorts) < FEWEST:
        raise UserError(f"groups: {len(lengths)} have fewer than {FEWEST} arrangements; measure more episodes")
    return sorts


def same_length(groups: Tensor, length: int | None = None) -> Tensor:
    """Indices (m,) of the first `length` rows of each group (n,) that has as many; None: as the shortest has."""
    index, lengths = torch.unique(groups, return_inverse=True, return_counts=True)[1:]
    length = length or int(lengths.min())
    parts = [rows[:length] for rows in index.argsort(stable=True).split(lengths.tolist()) if len(rows) >= length]
    return torch.cat(parts).sort().values
