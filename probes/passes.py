"""Passes of a reader over rows, into arrays on disk, by one process or by several."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from jepa_wm.errors import UserError
from probes.features import Rows
from probes.levels import Key, Readout
from probes.readers import Reader
from probes.sources import Source

BATCH = 64
"""Rows of a pass. All processes pass over the same batches, so their number changes no byte."""
CHUNK = 2**24
"""Numbers that are looked through for NaN at once."""


class Wanted(NamedTuple):
    """What is kept of each pass: some of `POOLINGS`, and the layers by name, None for all."""

    poolings: Sequence[str]
    layers: Sequence[str] | None


class Task(NamedTuple):
    """One split to be read.

    Attributes:
        rows: those that differ in what is read.
        own: for each row of the split, which of these is like it, int64 (n,).
        wanted: what is kept.
        files: arrays to be filled, by layer and pooling.
    """

    rows: Rows
    own: Tensor
    wanted: Wanted
    files: dict[Key, Path]


class Crew:
    """The processes that share the passes; the one that makes the crew is the first of them.

    Args:
        processes: how many.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        # A thread more or less may change the last digit of a sum.
        start = (get_context("spawn"), torch.set_num_threads, (torch.get_num_threads(),))
        self._others = ProcessPoolExecutor(processes - 1, *start) if processes > 1 else None

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *error: object) -> None:
        if self._others is not None:
            self._others.shutdown(cancel_futures=True)

    def fill(self, source: Source, reader: Reader, task: Task) -> None:
        """Fill a task's arrays with what a source, loaded as `reader`, makes of its rows.

        Raises:
            UserError: if some of it is no finite number.
        """
        others = []
        if self._others is not None:
            # Before they are sent, which moves a tensor's memory in the background, from under whoever reads it here.
            tree_map(lambda column: column.share_memory_() if isinstance(column, Tensor) else column, task)
            ranks = range(1, self.processes)
            others = [self._others.submit(_fill_share, source, task, rank, self.processes) for rank in ranks]
        _fill(reader, task, 0, self.processes)
        for other in others:
            other.result()
        for (layer, _), path in task.files.items():
            _check_finite(path, f"features of layer {layer} of {source.titled}")


@torch.no_grad()
def plan(reader: Reader, rows: Rows, wanted: Wanted, there: set[Key], aside: Path, dtype: str) -> Task:
    """What is to be read of a split: an empty array in `aside` for all that is wanted and not there yet.

    Raises:
        UserError: if the reader has none of the layers, or they have none of the poolings.
    """
    which, own = reader.distinct(rows)
    readout = Readout(*wanted)
    reader(rows.take(which[:1]), readout)
    if not readout.found:
        raise UserError(
            f"{reader.source}: got the layers {', '.join(wanted.layers or ['all'])} and the poolings "
            f"{', '.join(wanted.poolings)}; it has the layers {', '.join(readout.passed)}, all of them with 'mean': "
            "add one of these, or leave this model out"
        )
    files = {}
    for key, value in readout.found.items():
        if key not in there:
            files[key] = aside / f"{'.'.join(key)}.npy"
            np.lib.format.open_memmap(files[key], "w+", np.dtype(dtype), (len(own), *value.shape[1:])).flush()
    return Task(rows.take(which), own, wanted, files)


def load(source: Source, rank: int = 0) -> Reader:
    """The reader of a source on the device of the process numbered `rank`."""
    devices = torch.cuda.device_count()
    return source.load().to(f"cuda:{rank % devices}" if devices else "cpu")


_loaded = lru_cache(maxsize=1)(load)


def _fill_share(source: Source, task: Task, rank: int, processes: int) -> None:
    _fill(_loaded(source, rank), task, rank, processes)


@torch.no_grad()
def _fill(reader: Reader, task: Task, rank: int, processes: int) -> None:
    """Pass over the batches whose turn is this process's, and write what they give to all rows that are alike."""
    arrays = {key: np.load(path, mmap_mode="r+") for key, path in task.files.items()}
    own, count = task.own.numpy(), len(task.rows.ids)
    for start in range(rank * BATCH, count, processes * BATCH):
        end = min(start + BATCH, count)
        readout = Readout(*task.wanted)
        reader(task.rows.take(torch.arange(start, end)), readout)
        at = np.flatnonzero((own >= start) & (own < end))
        for key, array in arrays.items():
            with np.errstate(over="ignore"):
                array[at] = readout.found[key].cpu().numpy()[own[at] - start]


def _check_finite(path: Path, what: str) -> None:
    array = np.load(path, mmap_mode="r").reshape(-1)
    if not all(np.isfinite(array[at : at + CHUNK]).all() for at in range(0, len(array), CHUNK)):
        half = array.dtype == np.float16
        why = "float16 holds nothing above 65504; try float32 in another 'out'" if half else "leave that model out"
        raise UserError(f"{what} hold NaN or infinity, where numbers are expected: {why}")
