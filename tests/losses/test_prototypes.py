"""Sinkhorn's assignments are those of exact arithmetic, however far apart the logits are, on one rank or two."""

from collections.abc import Callable
from decimal import Decimal, getcontext

import pytest
import torch
from torch import Tensor

from jepa_wm.losses.prototypes import sinkhorn

TEMPERATURE = 0.05


def logits(case: str) -> Tensor:
    """Rows (7, 5), of which a row or a column may be out of reach of the others."""
    made = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    if case == "far column":
        made[:, 2] -= 60.0
    elif case == "far row":
        made[4] -= 60.0
    elif case == "far apart":
        made *= 100.0
    elif case == "every row elsewhere":
        made += torch.linspace(-300.0, 300.0, 7)[:, None]
    return made


CASES = ("near", "far column", "far row", "far apart", "every row elsewhere")
every_case = pytest.mark.parametrize("case", CASES)


def exact(rows: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Turns of evening out columns and rows, in numbers of any size and 60 digits."""
    getcontext().prec = 60
    weights = [[(Decimal(value) / Decimal(temperature)).exp() for value in row] for row in rows.tolist()]
    for _ in range(iterations):
        columns = [sum(column) for column in zip(*weights, strict=True)]
        weights = [[w / total for w, total in zip(row, columns, strict=True)] for row in weights]
        weights = [[w / sum(row) for w in row] for row in weights]
    return torch.tensor([[float(w) for w in row] for row in weights], dtype=torch.float64)


@every_case
def test_it_is_that_of_exact_arithmetic(case: str) -> None:
    rows = logits(case)
    torch.testing.assert_close(sinkhorn(rows.double(), TEMPERATURE), exact(rows, TEMPERATURE), rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(sinkhorn(rows, TEMPERATURE).double(), exact(rows, TEMPERATURE), rtol=2e-2, atol=1e-6)


def on_a_rank(rank: int) -> dict[tuple[str, int], Tensor]:
    """Assignments of this rank's share of each case's rows, of which the second rank has 2, and none."""
    return {
        (case, first): sinkhorn(logits(case).double().split([first, 7 - first])[rank], TEMPERATURE)
        for case in CASES
        for first in (5, 7)
    }


def test_two_ranks_are_one_batch_even_if_one_has_no_rows(on_two_ranks: Callable) -> None:
    one, other = on_two_ranks(on_a_rank)
    for case, first in one:
        found, whole = torch.cat([one[case, first], other[case, first]]), exact(logits(case), TEMPERATURE)
        torch.testing.assert_close(found, whole, rtol=1e-8, atol=1e-12, msg=f"{case} {first}")
