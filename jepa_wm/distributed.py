"""The only caller of torch.distributed: everything here is plain arithmetic without a process group."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


def rank() -> int:
    """This process's number in the process group, 0 without one."""
    return dist.get_rank() if _initialized() else 0


def world_size() -> int:
    """Processes in the process group, 1 without one."""
    return dist.get_world_size() if _initialized() else 1


def all_reduce_mean(tensor: Tensor) -> Tensor:
    """The mean of `tensor` (any shape, the same on all ranks) over ranks, on every rank; differentiable.

    The gradient that reaches a rank's `tensor` is that of the sum of all ranks' losses, so gradients
    averaged over ranks, as DistributedDataParallel does, are those of one process with the whole batch.
    """
    if world_size() == 1:
        return tensor
    summed: Tensor = _AllReduceSum.apply(tensor)
    return summed / world_size()


@torch.no_grad()
def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of `tensor` (any shape, the same on all ranks) over ranks, on every rank; without gradient."""
    if world_size() == 1:
        return tensor
    summed: Tensor = _AllReduceSum.apply(tensor)
    return summed


@torch.no_grad()
def all_reduce_max(tensor: Tensor) -> Tensor:
    """The largest of `tensor` (any shape, the same on all ranks) over ranks, on every rank; without gradient."""
    if world_size() == 1:
        return tensor
    largest = tensor.clone()
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest


def all_gather(tensor: Tensor) -> Tensor:
    """The rows of `tensor` (n, ...), as many on all ranks, of every rank in order; differentiable.

    As in `all_reduce_mean`, a rank's rows get the gradient of the sum of all ranks' losses.
    """
    if world_size() == 1:
        return tensor
    before, after = rank() * len(tensor), (world_size() - rank() - 1) * len(tensor)
    rows = torch.cat([tensor.new_zeros(before, *tensor.shape[1:]), tensor, tensor.new_zeros(after, *tensor.shape[1:])])
    gathered: Tensor = _AllReduceSum.apply(rows)
    return gathered


class _AllReduceSum(Function):
    """A sum over ranks feeds every rank's loss, so its gradient is the sum over ranks of theirs."""

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        summed = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Keep nothing: the gradient of a sum needs none of what was summed."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None], tensor: Tensor) -> tuple[Tensor, int | None]:
        """The sum over ranks of a stack is the stack of the sums."""
        return _AllReduceSum.apply(tensor), in_dims[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed: Tensor = _AllReduceSum.apply(gradients[0])
        return summed


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()
