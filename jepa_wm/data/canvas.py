"""Memory for the pixels of a batch, which decoders write into row by row: nothing is copied afterwards."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

Allocate = Callable[[tuple[int, ...]], np.ndarray]
"""A shape -> uninitialised uint8 memory of that shape, contiguous."""


def allocate(shape: tuple[int, ...]) -> np.ndarray:
    """Memory of its own."""
    return np.empty(shape, np.uint8)


class Canvas:
    """The pixels of `rows` rows of one shape, which that of the first row decides.

    Args:
        rows: of the batch.

    Attributes:
        used: rows given away; set it back to give away those again whose decoding failed.
    """

    def __init__(self, rows: int) -> None:
        self.rows, self.used = rows, 0
        self._tensor = torch.empty(0, dtype=torch.uint8)
        self._array = np.empty((0, 0), np.uint8)

    def row(self, shape: tuple[int, ...]) -> np.ndarray:
        """The next row; memory of its own if it is of another shape than the others."""
        if not len(self._array):
            self._tensor = empty((self.rows, *shape), torch.uint8)
            self._array = self._tensor.numpy()
        if shape != self._array.shape[1:] or self.used == self.rows:
            return allocate(shape)
        self.used += 1
        return self._array[self.used - 1]

    def take(self, column: Sequence[np.ndarray]) -> Tensor | None:
        """All rows of a batch as one tensor, if these are they, in order."""
        if len(column) != self.used or any(
            row.base is not self._array.base and row.base is not self._array for row in column
        ):
            return None
        return self._tensor[: self.used]


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Uninitialised memory; in a worker process such as other processes can be handed."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    # As torch's own collate does: share_memory_() would fill ordinary memory first and copy it.
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)  # type: ignore[call-overload]
