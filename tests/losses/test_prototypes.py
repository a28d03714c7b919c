"""Sinkhorn's assignments are those of exact arithmetic, however far apart the logits are, on one rank or two."""

import socket
from decimal import Decimal, getcontext

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
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


def worker(rank: int, port: int, results: mp.SimpleQueue) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        for first in (5, 7):  # the second rank has 2 rows, and none
            for case in CASES:
                rows = logits(case).double().split([first, 7 - first])[rank]
                results.put((first, case, rank, sinkhorn(rows, TEMPERATURE).tolist()))
    finally:
        dist.destroy_process_group()


def test_two_ranks_are_one_batch_even_if_one_has_no_rows() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(worker, (port, results), nprocs=2)
    for _ in range(2 * 2 * len(CASES)):
        first, case, rank, found = results.get()
        expected = exact(logits(case), TEMPERATURE).split([first, 7 - first])[rank]
        torch.testing.assert_close(
            torch.tensor(found, dtype=torch.float64).view(-1, 5), expected, rtol=1e-8, atol=1e-12, msg=f"{case} {first}"
        )
