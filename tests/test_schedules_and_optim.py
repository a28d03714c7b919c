"""Schedules, parameter groups and moving averages, against their closed forms."""

import pytest
import torch
from torch import nn

from jepa_wm.optim import adamw, ema_update
from jepa_wm.schedules import linear, warmup_cosine


def test_warmup_then_cosine() -> None:
    values = [warmup_cosine(p, warmup=0.2, final=0.1) for p in (0.0, 0.1, 0.2, 0.6, 1.0, 1.5)]
    assert values == pytest.approx([0.0, 0.5, 1.0, 0.55, 0.1, 0.1])
    assert [linear(p, 2.0, 4.0) for p in (-1.0, 0.0, 0.25, 2.0)] == [2.0, 2.0, 2.5, 4.0]


def test_vectors_do_not_decay_and_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    decayed, others = adamw(model, 1e-3, 0.1, (0.9, 0.95)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)] and decayed["weight_decay"] == 0.1
    assert [tuple(p.shape) for p in others["params"]] == [(4,)] * 3 and others["weight_decay"] == 0.0


def test_the_average_moves_by_one_minus_the_decay() -> None:
    average, model = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = 0.9 * average.weight.detach() + 0.1 * model.weight.detach()
    ema_update(average, model, 0.9)
    torch.testing.assert_close(average.weight.detach(), expected)
