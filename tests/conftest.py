"""What all tests share."""

import os

# Set before torch is imported anywhere: the tests' tensors are too small for threads to help.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

OnTwoRanks = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def on_two_ranks() -> OnTwoRanks:
    """`on_two_ranks(work, *args)`: what `work(rank, *args)` returns in each of two processes of one process group."""
    return _on_two_ranks


def _on_two_ranks(work: Callable[..., Any], *args: Any) -> list[Any]:
    with TemporaryDirectory() as folder:
        mp.spawn(_on_a_rank, (folder, work, args), nprocs=2)
        return [torch.load(Path(folder, f"{rank}.pt"), weights_only=False) for rank in range(2)]


def _on_a_rank(rank: int, folder: str, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    # They meet in a file: a port that was free might be taken by the time it is used.
    meeting, patience = Path(folder, "meeting").as_uri(), timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=patience)
    try:
        torch.save(work(rank, *args), Path(folder, f"{rank}.pt"))
    finally:
        dist.destroy_process_group()
