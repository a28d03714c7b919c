"""What all tests share."""

import os

# Set before torch is imported anywhere: the tests' tensors are too small for threads to help.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import multiprocessing as mp
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import torch.distributed as dist

OnTwoRanks = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def on_two_ranks() -> Iterator[OnTwoRanks]:
    """`on_two_ranks(work, *args)`: what `work(rank, *args)` returns in each of two processes of one process group.

    The processes stay for the tests to come: to start them takes longer than most of what they are asked.
    """
    spawn = mp.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as first, ProcessPoolExecutor(1, spawn) as second:

        def call(work: Callable[..., Any], *args: Any) -> list[Any]:
            with TemporaryDirectory() as folder:
                asked = [each.submit(_on_a_rank, rank, folder, work, args) for rank, each in enumerate((first, second))]
                for answer in asked:
                    answer.result()
                return [torch.load(Path(folder, f"{rank}.pt"), weights_only=False) for rank in range(2)]

        yield call


def _on_a_rank(rank: int, folder: str, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.manual_seed(0)
    # They meet in a file: a port that was free might be taken by the time it is used.
    meeting, patience = Path(folder, "meeting").as_uri(), timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=patience)
    try:
        torch.save(work(rank, *args), Path(folder, f"{rank}.pt"))
    finally:
        dist.destroy_process_group()
