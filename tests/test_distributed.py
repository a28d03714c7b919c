"""Two real processes give the value and the gradient of one process with the whole batch."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from jepa_wm import distributed


def loss(weight, rows, reduce):
    """A function of the mean over all rows that is not linear in it."""
    mean = reduce(torch.tanh(rows @ weight).mean(dim=0))
    return (mean.square() * torch.arange(1.0, 4.0)).sum().exp()


def worker(rank, port, weight, rows, results):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        weight = weight.clone().requires_grad_()
        value = loss(weight, rows.chunk(2)[rank], distributed.all_reduce_mean)
        value.backward()
        dist.all_reduce(weight.grad)
        # What DistributedDataParallel does: the mean of the ranks' gradients.
        places = (distributed.rank(), distributed.world_size())
        results.put((places, value.item(), (weight.grad / 2).tolist()))
    finally:
        dist.destroy_process_group()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_ranks_are_one_process():
    generator = torch.Generator().manual_seed(0)
    weight, rows = torch.randn(5, 3, generator=generator), torch.randn(8, 5, generator=generator)
    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(worker, (free_port(), weight, rows, results), nprocs=2)
    got = sorted(results.get() for _ in range(2))
    truth = weight.clone().requires_grad_()
    value = loss(truth, rows, lambda mean: mean)
    value.backward()
    assert [places for places, _, _ in got] == [(0, 2), (1, 2)]
    for _, two_ranks, gradient in got:
        assert two_ranks == pytest.approx(value.item(), rel=1e-5)
        torch.testing.assert_close(torch.tensor(gradient), truth.grad, rtol=1e-5, atol=1e-6)


def test_without_a_process_group_it_is_the_identity():
    tensor = torch.randn(3)
    assert distributed.all_reduce_mean(tensor) is tensor
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
