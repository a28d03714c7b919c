"""Two real processes give the value and the gradient of one process with the whole batch."""

import pytest
import torch
import torch.distributed as dist

from jepa_wm import distributed


def loss(weight, rows, reduce):
    """A function of the mean over all rows that is not linear in it."""
    mean = reduce(torch.tanh(rows @ weight).mean(dim=0))
    return (mean.square() * torch.arange(1.0, 4.0)).sum().exp()


def on_a_rank(rank, weight, rows):
    weight = weight.clone().requires_grad_()
    value = loss(weight, rows.chunk(2)[rank], distributed.all_reduce_mean)
    value.backward()
    dist.all_reduce(weight.grad)
    # What DistributedDataParallel does: the mean of the ranks' gradients.
    return (distributed.rank(), distributed.world_size()), value.item(), weight.grad / 2


def test_two_ranks_are_one_process(on_two_ranks):
    generator = torch.Generator().manual_seed(0)
    weight, rows = torch.randn(5, 3, generator=generator), torch.randn(8, 5, generator=generator)
    got = on_two_ranks(on_a_rank, weight, rows)
    truth = weight.clone().requires_grad_()
    value = loss(truth, rows, lambda mean: mean)
    value.backward()
    assert [places for places, _, _ in got] == [(0, 2), (1, 2)]
    for _, two_ranks, gradient in got:
        assert two_ranks == pytest.approx(value.item(), rel=1e-5)
        torch.testing.assert_close(gradient, truth.grad, rtol=1e-5, atol=1e-6)


def test_without_a_process_group_it_is_the_identity():
    tensor = torch.randn(3)
    assert distributed.all_reduce_mean(tensor) is tensor
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
