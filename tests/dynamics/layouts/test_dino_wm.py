"""DINO-WM's predictor with published names of weights, against its code's numbers (tests/golden/make_dino_wm.py)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jepa_wm.dynamics import rollout
from jepa_wm.dynamics.layouts.dino_wm import predictor
from jepa_wm.errors import UserError
from tests.golden.formula import formula, matches, step_matches, tensor

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "dino_wm.json").read_text())
STATE = {name: formula(name, shape) for name, shape in GOLDEN["shapes"].items()}
ACTIONS = tensor("dino_wm.actions", (2, 7, 6))


def latents() -> Tensor:
    """Tokens with the embedded state beside them."""
    kernel, bias = STATE["proprio_encoder.patch_embed.weight"][:, :, 0], STATE["proprio_encoder.patch_embed.bias"]
    felt = tensor("dino_wm.state", (2, 4, 3)) @ kernel.T + bias
    tokens = tensor("dino_wm.tokens", (2, 4, 4, 8))
    return torch.cat([tokens, felt[:, :, None].expand(-1, -1, 4, -1)], dim=-1)


def test_a_training_step_is_the_published_one() -> None:
    made = predictor(STATE, tokens=4, action_dim=2, heads=2, dropout=0.0).train()
    predicted = made(latents()[:, :3], ACTIONS[:, :3])
    assert matches(GOLDEN["predicted"], predicted)
    loss = (predicted - latents()[:, 1:]).square().mean()
    names = {
        "predictor.transformer.layers.1.0.to_qkv.weight": "blocks.1.qkv.weight",
        "predictor.transformer.layers.0.1.net.4.bias": "blocks.0.fall.bias",
        "predictor.transformer.layers.0.0.norm.weight": "blocks.0.attention_norm.weight",
        "action_encoder.patch_embed.bias": "actions.embed.bias",
    }
    assert step_matches(GOLDEN, loss, made, names)


@torch.no_grad()
def test_a_rollout_past_the_window_is_the_published_one() -> None:
    made = predictor(STATE, tokens=4, action_dim=2, heads=2)
    assert made.window == 3 and made.frame_skip == 3
    assert matches(GOLDEN["imagined"], rollout(made, latents()[:, :2], ACTIONS[:, :1], ACTIONS[:, 1:]))
    with pytest.raises(UserError, match="got 3 tokens a frame; expected 4"):
        made(latents()[:, :2, :3], ACTIONS[:, :2])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"positions are of 12 tokens.*got 5 tokens a frame, 2 heads and an action_dim"):
        predictor(STATE, 5, 2, 2)
    with pytest.raises(UserError, match=r"unknown predictor\.more"):
        predictor(STATE | {"predictor.more": torch.zeros(1)}, 4, 2, 2)
