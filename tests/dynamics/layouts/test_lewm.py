"""LeWM's predictor with published names of weights, against its code's numbers (tests/golden/make_lewm.py)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jepa_wm.dynamics import LeWMDynamics, rollout
from jepa_wm.dynamics.layouts.lewm import predictor
from jepa_wm.errors import UserError
from tests.golden.formula import formula, matches, step_matches, tensor

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "lewm.json").read_text())


def state() -> dict[str, Tensor]:
    made = {name: formula(name, shape) for name, shape in GOLDEN["shapes"].items()}
    made |= {name: 1 + value for name, value in made.items() if name.endswith("running_var")}
    return made | {"pred_proj.net.1.num_batches_tracked": torch.tensor(3)}


def model() -> LeWMDynamics:
    return predictor(state(), action_dim=2, heads=2, dropout=0.0)


LATENTS, ACTIONS = tensor("lewm.latents", (2, 4, 8))[:, :, None], tensor("lewm.actions", (2, 3, 6))


def test_a_training_step_is_the_published_one() -> None:
    made = model().train()
    predicted = made(LATENTS[:, :3], ACTIONS)
    assert matches(GOLDEN["train"]["predicted"], predicted[:, :, 0])
    loss = (predicted - LATENTS[:, 1:]).square().mean()
    names = {
        "predictor.transformer.layers.1.attn.to_qkv.weight": "blocks.1.qkv.weight",
        "predictor.transformer.layers.0.mlp.net.4.bias": "blocks.0.fall.bias",
        "predictor.transformer.layers.0.adaLN_modulation.1.weight": "blocks.0.modulation.weight",
        "pred_proj.net.1.weight": "project.1.weight",
    }
    assert step_matches(GOLDEN["train"], loss, made, names)


@torch.no_grad()
def test_predictions_and_rollouts_are_the_published_ones() -> None:
    made = model()
    assert matches(GOLDEN["eval"], made(LATENTS[:, :3], ACTIONS)[:, :, 0])
    taken, seen = tensor("lewm.taken", (1, 2, 5, 6))[0], tensor("lewm.seen", (1, 1, 1, 8))
    assert matches(GOLDEN["rollout"], rollout(made, seen, taken[:1, :0], taken)[:, :, 0])


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(UserError, match=r"fit the LeWM layout: 'action_encoder\.patch_embed\.weight' is missing"):
        predictor({"a": torch.zeros(1)}, 2, 2)
    with pytest.raises(UserError, match=r"unknown predictor\.more"):
        predictor(state() | {"predictor.more": torch.zeros(1)}, 2, 2)
    less = {name: value for name, value in state().items() if "0.attn.to_qkv" not in name}
    with pytest.raises(UserError, match=r"missing blocks\.0\.qkv\.weight"):
        predictor(less, 2, 2)
    with pytest.raises(UserError, match="action_dim of 4 and 2 heads"):
        predictor(state(), 4, 2)
