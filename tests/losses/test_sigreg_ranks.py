"""Two real processes give SIGReg's value and gradient on the whole batch."""

import pytest
import torch
import torch.distributed as dist

from jepa_wm.losses import SIGReg


def on_a_rank(rank, scale, rows):
    scale = scale.clone().requires_grad_()
    value = SIGReg(slices=16)((rows.chunk(2)[rank] * scale)[None], step=4)
    value.backward()
    dist.all_reduce(scale.grad)
    return value.item(), (scale.grad / 2).tolist()


def test_two_ranks_are_one_batch(on_two_ranks):
    generator = torch.Generator().manual_seed(0)
    rows, scale = torch.randn(24, 6, generator=generator), torch.linspace(0.5, 2.0, 6)
    truth = scale.clone().requires_grad_()
    value = SIGReg(slices=16)((rows * truth)[None], step=4)
    value.backward()
    for got, gradient in on_two_ranks(on_a_rank, scale, rows):
        assert got == pytest.approx(value.item(), rel=1e-5)
        assert gradient == pytest.approx(truth.grad.tolist(), rel=1e-4)
