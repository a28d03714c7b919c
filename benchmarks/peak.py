"""What is in memory at once, to the byte: tensors alone, on any device, whatever an allocator keeps beside them."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak(work: Callable[[], object]) -> int:
    """Bytes of all that was in memory at once and was made by it."""
    with Made() as made:
        work()
    return made.most


class Made(TorchDispatchMode):
    """What is in memory at most of what operations make under it."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.most = 0, 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and (key := leaf.untyped_storage().data_ptr()) not in self.known:
                size = leaf.untyped_storage().nbytes()
                self.known.add(key)
                self.held += size
                weakref.finalize(leaf.untyped_storage(), self._freed, key, size)
        self.most = max(self.most, self.held)
        return made

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.held -= size
