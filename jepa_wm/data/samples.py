"""What a loader draws from: samples by number, stacked into batches."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, from_numpy

from jepa_wm.contracts import Batch
from jepa_wm.data.broken import BrokenSample
from jepa_wm.data.canvas import Allocate, Canvas, empty
from jepa_wm.data.order import Order, Shuffled, Stored
from jepa_wm.data.shards import Shards
from jepa_wm.errors import UserError

Row = dict[str, Any]
"""One row of a batch: pixels uint8 (…, H, W, 3) or a tensor (…, C, H, W), other arrays, whole numbers or tuples of
them, texts or lists of them."""

SMALL = 2**17
"""Bytes below which an array is cheaper to copy than to share between processes."""


class Samples(ABC):
    """Samples of shards, decoded. A subclass says what is decoded from one, and which can be.

    Args:
        shards: where they are stored.
        usable: numbers of those that can be used, ascending; None for all.

    Attributes:
        rows: rows of a batch that one sample gives.
    """

    rows = 1

    def __init__(self, shards: Shards, usable: np.ndarray | None = None) -> None:
        self.shards, self.usable = shards, usable

    @abstractmethod
    def load(self, seed: int, epoch: int, number: int, new: Allocate) -> list[Row]:
        """Decode sample `number` of the shards into its rows; what is drawn is a function of the arguments.

        Args:
            seed: of the loader.
            epoch: of the sample's source.
            number: of the sample.
            new: gives the memory for each row's pixels.

        Raises:
            BrokenSample: if it is broken.
        """

    def __len__(self) -> int:
        return len(self.shards) if self.usable is None else len(self.usable)

    def __str__(self) -> str:
        return str(self.shards)

    @property
    def sources(self) -> list["Samples"]:
        """What it is mixed from: itself."""
        return [self]

    def order(self, seed: int, shuffle: bool, window: int) -> Order:
        """The order in which samples are drawn."""
        if not shuffle:
            return Stored(len(self))
        if self.usable is None:
            return Shuffled(self.shards.counts, seed, window)
        return Shuffled(np.bincount(self._shard(self.usable), minlength=len(self.shards.counts)).tolist(), seed, window)

    def stored(self, number: int) -> int:
        """The number in the shards of the sample that is `number` among the usable ones."""
        return number if self.usable is None else int(self.usable[number])

    def prefetch(self, numbers: np.ndarray) -> None:
        """Begin to fetch the shards of the samples numbered so, in that order, if they are remote."""
        if self.shards.is_remote:
            stored = numbers if self.usable is None else self.usable[numbers]
            self.shards.prefetch(dict.fromkeys(self._shard(stored).tolist()))

    def _shard(self, stored: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.cumsum(self.shards.counts), stored, side="right")


def draw(
    samples: Samples, requests: np.ndarray, seed: int, replace: bool
) -> tuple[Batch | None, list[tuple[int, BrokenSample]]]:
    """Decode and stack the samples that an order asks for.

    Args:
        samples: drawn from.
        requests: int64 (n, 3) as of `Order.at`.
        seed: seeds crops and cuts.
        replace: whether a neighbour takes a broken sample's place; else its rows are missing.

    Returns:
        The batch, None if every sample is broken; and the broken ones, each with its source's number.

    Raises:
        UserError: if no sample can take a broken one's place, or rows do not fit each other.
    """
    broken: list[tuple[int, BrokenSample]] = []
    rows: list[Row] = []
    canvas, sources = Canvas(len(requests) * samples.rows), samples.sources
    for source, epoch, number in requests.tolist():
        own, used = sources[source], canvas.used
        for candidate in _candidates(len(own), number) if replace else [number]:
            try:
                rows += own.load(seed, epoch, own.stored(candidate), canvas.row)
                break
            except BrokenSample as error:
                broken.append((source, error))
                canvas.used = used
        else:
            if replace:
                raise UserError(f"every sample of {own} is broken; the last one: {broken[-1][1].why}")
    return (collate(rows, canvas) if rows else None), broken


def _candidates(length: int, number: int) -> Iterator[int]:
    return ((number + step) % length for step in range(length))


def collate(rows: Sequence[Row], canvas: Canvas) -> Batch:
    """Stack rows: texts into lists, the rest into tensors, but small arrays into arrays; see `as_tensors`.

    In a worker tensors are in shared memory from the start, which saves a copy. To hand one over takes a
    third of a millisecond, though, which small arrays are not worth. What some rows lack is left out: not all sources
    know of an episode how it ended.

    Raises:
        UserError: if two rows' arrays of one name differ in size.
    """
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: _stack(name, [row[name] for row in rows], canvas) for name in shared}


def as_tensors(batch: Batch) -> Batch:
    """What `collate` gives, the arrays as tensors."""
    return {name: from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in batch.items()}


def _stack(name: str, column: list[Any], canvas: Canvas) -> Any:
    first = column[0]
    if isinstance(first, int | tuple):
        return np.array(column, np.int64)
    if not isinstance(first, np.ndarray | Tensor):
        return column
    _check_shapes(name, (value.shape for value in column))
    if isinstance(first, Tensor):
        return torch.stack(column, out=empty((len(column), *first.shape), first.dtype))
    if name != "pixels" and first.nbytes * len(column) < SMALL:
        return np.stack(column)
    out = canvas.take(column) if name == "pixels" else None
    if out is None:
        out = empty((len(column), *first.shape), from_numpy(np.empty(0, first.dtype)).dtype)
        np.stack(column, out=out.numpy())
    # Decoders give channels last; the view keeps them so in memory, where moving them would cost a copy.
    return out.movedim(-1, -3) if name == "pixels" else out


def _check_shapes(name: str, shapes: Iterable[Sequence[int]]) -> None:
    if len(different := {tuple(shape) for shape in shapes}) > 1:
        raise UserError(
            f"'{name}' of the samples of a batch are of shape {' and '.join(map(str, sorted(different)[:2]))}; to be "
            "stacked they must be of one: give the samples a transform, such as jepa_wm.data.transforms.Resize"
        )
