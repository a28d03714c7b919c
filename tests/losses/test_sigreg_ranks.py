"""Two real processes give SIGReg's value and gradient on the whole batch."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from jepa_wm.losses import SIGReg


def worker(rank, port, scale, rows, results):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        scale = scale.clone().requires_grad_()
        value = SIGReg(slices=16)((rows.chunk(2)[rank] * scale)[None], step=4)
        value.backward()
        dist.all_reduce(scale.grad)
        results.put((rank, value.item(), (scale.grad / 2).tolist()))
    finally:
        dist.destroy_process_group()


def test_two_ranks_are_one_batch():
    generator = torch.Generator().manual_seed(0)
    rows, scale = torch.randn(24, 6, generator=generator), torch.linspace(0.5, 2.0, 6)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(worker, (port, scale, rows, results), nprocs=2)
    truth = scale.clone().requires_grad_()
    value = SIGReg(slices=16)((rows * truth)[None], step=4)
    value.backward()
    for _, got, gradient in (results.get() for _ in range(2)):
        assert got == pytest.approx(value.item(), rel=1e-5)
        assert gradient == pytest.approx(truth.grad.tolist(), rel=1e-4)
