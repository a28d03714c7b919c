"""How LeWM's predictor begins: as its official code does, where two maps stand before the first non-linearity."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from jepa_wm.dynamics import LeWMDynamics
from jepa_wm.dynamics.lewm import _begin_behind_a_map


def test_one_layer_is_the_two_maps() -> None:
    torch.manual_seed(0)
    layer, actions = nn.Linear(10, 64), torch.randn(7, 10)
    after = deepcopy(layer)
    torch.manual_seed(1)
    before = nn.Linear(10, 10)
    torch.manual_seed(1)
    _begin_behind_a_map(layer)
    torch.testing.assert_close(layer(actions), after(before(actions)))


def test_actions_weigh_as_little_at_first_as_behind_two_maps() -> None:
    # PyTorch draws both from ±1 / sqrt(n), of variance 1 / 3n: their product's is n / (3n)^2.
    torch.manual_seed(0)
    layers = [LeWMDynamics(16, 2, 5, depth=1, heads=1, head_dim=4, hidden=8).actions.embed for _ in range(60)]
    weights = torch.stack([each[0].weight for each in layers])  # type: ignore[index]
    assert weights.std().item() == pytest.approx(1 / (3 * math.sqrt(10)), rel=0.05)
