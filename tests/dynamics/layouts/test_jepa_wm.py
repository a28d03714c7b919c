"""JEPA-WM with published names of weights, against its code's numbers (tests/golden/make_jepa_wm.py)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jepa_wm.dynamics import JepaWMDynamics, rollout
from jepa_wm.dynamics.layouts.jepa_wm import predictor
from jepa_wm.dynamics.published import states
from jepa_wm.encoders import Learned, PatchFrames, StateFrames, ViT
from jepa_wm.errors import UserError
from jepa_wm.released import load_world_model
from tests.golden.formula import fill, matches, step_matches, tensor

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "jepa_wm.json").read_text())
CLOSE = 1e-6
"""Our tables of rotations are of float32."""
forms = pytest.mark.parametrize(("form", "felt"), [("felt", 4), ("blind", 0)])


def part(form: str, name: str) -> dict[str, Tensor]:
    return fill(GOLDEN[form]["shapes"].get(name, {}), f"{name}.")


def model(form: str, window: int = 2) -> JepaWMDynamics:
    return predictor(part(form, "predictor"), action_dim=2, grid=(2, 2), heads=2, window=window)


def latents(form: str, felt: int) -> Tensor:
    """(B, T, N, D): patches, and beside each what is felt."""
    seen = tensor(f"jepa_wm.{felt}.latents", (2, 4, 1, 2, 2, 6)).flatten(2, 4)
    frames = states(part(form, "proprio_encoder"), PatchFrames())
    if not isinstance(frames, StateFrames):
        return seen
    state = tensor(f"jepa_wm.{felt}.proprio", (2, 4, 3))
    return torch.cat([seen, frames.embed(state)[:, :, None].expand(-1, -1, 4, -1)], dim=-1).detach()


@forms
def test_a_training_step_is_the_published_one(form: str, felt: int) -> None:
    made, golden = model(form, window=4), GOLDEN[form]  # all frames of its clips
    seen = latents(form, felt)
    predicted = made(seen, tensor(f"jepa_wm.{felt}.actions", (2, 4, 6)))
    assert matches(golden["forced"], predicted, CLOSE)
    loss = (predicted[:, :-1] - seen[:, 1:]).square().mean()
    names = {
        "predictor_embed.weight": "enter.weight",
        "action_encoder.weight": "actions.embed.weight",
        "predictor_blocks.0.attn.qkv.weight": "blocks.0.attention.qkv.weight",
        "predictor_blocks.1.mlp.fc2.bias": "blocks.1.fall.bias",
        "predictor_norm.weight": "norm.weight",
        "predictor_proj.weight": "leave.weight",
    }
    assert step_matches(golden, loss, made, names, CLOSE)


@forms
@torch.no_grad()
def test_a_rollout_over_the_windows_end_is_that_of_the_published_planning(form: str, felt: int) -> None:
    taken, begun = tensor(f"jepa_wm.{felt}.taken", (5, 2, 6)).transpose(0, 1), latents(form, felt)[:1, :1]
    for window in (2, 3):
        found = rollout(model(form, window), begun, taken[:1, :0], taken)
        assert matches(GOLDEN[form]["rollout"], found, CLOSE) == (window == 2)


@forms
@torch.no_grad()
def test_a_checkpoint_is_a_world_model(form: str, felt: int, tmp_path: Path) -> None:
    names = ("predictor", "proprio_encoder")
    held = {name: {f"module.{key}": value.float() for key, value in part(form, name).items()} for name in names}
    whole = {"epoch": 3, "scaler": {"scale": 1.0}} | {name: state for name, state in held.items() if state}
    torch.save(whole, tmp_path / "jepa_wm.pth.tar")
    torch.manual_seed(0)
    encoder = ViT(14, 1, 6, 1, 2, positions=Learned((1, 2, 2)), prefix=1)
    spread = {
        "action_mean": [1.0, 0.0],
        "action_std": [2.0, 1.0],
        "state_mean": [0.0] * 3,
        "state_std": [1.0, 1.0, 4.0],
    }
    world = load_world_model(tmp_path / "jepa_wm.pth.tar", heads=2, size=28, action_dim=2, encoder=encoder)
    scaled = load_world_model(
        tmp_path / "jepa_wm.pth.tar", heads=2, size=28, action_dim=2, encoder=encoder, statistics=spread
    )
    pixels, actions = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8), torch.rand(2, 5, 6)
    state = torch.randn(2, 3) if felt else None
    seen = world.encode(pixels[:, None], None if state is None else state[:, None])
    assert seen.shape[-1] == 6 + felt and torch.equal(seen[..., :6], encoder(pixels)[:, None])
    found = world.imagine(pixels, actions, state=state).latents
    expected = rollout(model(form).float(), seen, actions[:, :0], actions)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    same = actions * torch.tensor([2.0, 1.0]).tile(3) + torch.tensor([1.0, 0.0]).tile(3)
    far = None if state is None else state * torch.tensor([1.0, 1.0, 4.0])
    torch.testing.assert_close(scaled.imagine(pixels, same, state=far).latents, found, rtol=1e-4, atol=1e-4)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    state = part("felt", "predictor")
    with pytest.raises(UserError, match=r"unknown more; missing none"):
        predictor(state | {"more": torch.zeros(1)}, 2, (2, 2), 2)
    with pytest.raises(UserError, match=r"missing blocks\.0\.fall\.bias"):
        predictor({name: value for name, value in state.items() if "0.mlp.fc2.bias" not in name}, 2, (2, 2), 2)
    with pytest.raises(UserError, match="unknown mlp"):
        states(part("felt", "proprio_encoder") | {"mlp.0.weight": torch.zeros(4, 4)}, PatchFrames())
    torch.save({"predictor": state}, tmp_path / "small.pth.tar")
    with pytest.raises(UserError, match=r"small\.pth\.tar: its predictor reads tokens of width 6; got none"):
        load_world_model(tmp_path / "small.pth.tar", heads=2)


def test_the_published_width_has_room_for_the_state() -> None:
    made = JepaWMDynamics(latent_dim=400, state_width=16)
    assert (made.trunk.width, made.trunk.head_dim) == (400, 25)
