"""V-JEPA 2-AC with published names of weights, against its code's numbers (tests/golden/make_vjepa2_ac.py)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.dynamics import VJepa2ACDynamics, rollout
from jepa_wm.dynamics.layouts.vjepa2_ac import predictor
from jepa_wm.encoders.timm_encoder import TimmEncoder
from jepa_wm.errors import UserError
from jepa_wm.released import load_world_model
from tests.golden.formula import fill, matches, pixels, step_matches, tensor

FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "vjepa2_ac.json").read_text())
ENCODER: dict[str, Any] = json.loads((FOLDER / "vjepa2.json").read_text())
CLOSE = 1e-6
"""Our tables of rotations are of float32."""
STATE = fill(GOLDEN["shapes"], "predictor.")


def model() -> VJepa2ACDynamics:
    return predictor(STATE, (6, 6), heads=2)


def latents() -> Tensor:
    """(B, T, N + 1, D): patches, and a token of the pose behind them."""
    seen = F.layer_norm(tensor("vjepa2_ac.latents", (2, 4, 36, 48)), (48,))
    reach = torch.tensor([1.0, 1.0, 1.0, 3.0, 1.5, 3.0, 0.5], dtype=torch.float64)
    states = tensor("vjepa2_ac.states", (2, 4, 7)) * reach
    states[..., 6] += 0.5
    return torch.cat([seen, F.pad(states, (0, 41))[:, :, None]], dim=2)


def test_a_training_step_is_the_published_one() -> None:
    made, seen = model(), latents()
    predicted = made(seen, tensor("vjepa2_ac.actions", (2, 4, 7)))[:, :, :36]
    assert matches(GOLDEN["forced"], predicted, CLOSE)
    loss = (predicted[:, :-1] - seen[:, 1:, :36]).abs().mean()
    names = {
        "predictor_embed.weight": "enter.weight",
        "action_encoder.weight": "actions.embed.weight",
        "state_encoder.weight": "feel.weight",
        "predictor_blocks.0.attn.qkv.weight": "blocks.0.attention.qkv.weight",
        "predictor_blocks.1.norm2.weight": "blocks.1.norms.1.weight",
        "predictor_proj.bias": "leave.bias",
    }
    assert loss.item() == pytest.approx(GOLDEN["loss"], rel=CLOSE)
    assert step_matches(GOLDEN, loss, made, names, 1e-5)


@torch.no_grad()
def test_a_rollout_is_that_of_the_published_planning() -> None:
    taken = tensor("vjepa2_ac.taken", (2, 3, 7))
    found = rollout(model(), latents()[:, :1], taken[:, :0], taken)
    assert matches(GOLDEN["rollout"], found[:, :, :36], CLOSE)
    assert matches(GOLDEN["places"], found[:, :, 36, :7], CLOSE)
    assert (found[:, :, 36, 7:] == 0).all()


@torch.no_grad()
def test_a_checkpoint_is_a_world_model(tmp_path: Path) -> None:
    shapes = ENCODER["parameters"]["encoder"]
    encoder = {f"module.backbone.{name}": value.float() for name, value in fill(shapes, "encoder.").items()}
    held = {f"module.{name}": value.float() for name, value in STATE.items()}
    torch.save(
        {"encoder": encoder, "target_encoder": encoder, "predictor": held, "opt": None, "epoch": 1}, tmp_path / "ac.pt"
    )
    (tmp_path / "config.json").write_text('{"encoder": {"num_attention_heads": 4}}')
    with pytest.raises(UserError, match=r"ac\.pt: its actions have 7 numbers; got an action_dim of 3"):
        load_world_model(tmp_path / "ac.pt", action_dim=3, heads=2, size=48)
    with pytest.raises(UserError, match=r"ac\.pt: it has an encoder of its own; got encoder=hf:some/other"):
        load_world_model(tmp_path / "ac.pt", heads=2, size=48, encoder="hf:some/other")
    world = load_world_model(tmp_path / "ac.pt", action_dim=7, heads=2, size=48)
    image = pixels("vjepa2.image", (2, 3, 48, 48))
    pose = latents()[:, 0, 36, :7].float()
    seen = world.encode(image[:, None], pose[:, None])
    torch.testing.assert_close(seen[:, 0, 36, :7], pose)
    still = world.encoder.double()(image)
    assert matches(ENCODER["numbers"]["encoder(still)"], still, CLOSE)
    torch.testing.assert_close(seen[:, 0, :36], F.layer_norm(still, (48,)).float(), rtol=1e-4, atol=1e-4)
    world.float()
    taken = tensor("vjepa2_ac.taken", (2, 3, 7)).float()
    found = world.imagine(image, taken, state=pose, clip=True).latents
    torch.testing.assert_close(found, rollout(model().float(), seen, taken[:, :0], taken), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_without_states_there_is_no_token_of_them() -> None:
    less = {name: value for name, value in STATE.items() if not name.startswith("state_encoder")}
    made, seen, taken = predictor(less, (6, 6), 2), latents()[:, :1, :36], tensor("vjepa2_ac.taken", (2, 3, 7))
    assert rollout(made, seen, taken[:, :0], taken).shape == (2, 3, 36, 48)
    renamed = {name.replace("state_encoder", "proprio_encoder"): value for name, value in STATE.items()}
    torch.testing.assert_close(predictor(renamed, (6, 6), 2).feel.weight, STATE["state_encoder.weight"])


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown more; missing none"):
        predictor(STATE | {"more": torch.zeros(1)}, (6, 6), 2)
    with pytest.raises(UserError, match=r"missing blocks\.1\.rise\.weight"):
        predictor({name: value for name, value in STATE.items() if "1.mlp.fc1.weight" not in name}, (6, 6), 2)


def test_an_encoder_that_keeps_its_size_is_told_no_other(tmp_path: Path) -> None:
    encoder = TimmEncoder("test_vit")
    entry, end, bias = (STATE[f"predictor_{name}"] for name in ("embed.weight", "proj.weight", "proj.bias"))
    wide = {
        "predictor_embed.weight": entry.new_zeros(len(entry), encoder.dim),
        "predictor_proj.weight": end.new_zeros(encoder.dim, end.shape[1]),
        "predictor_proj.bias": bias.new_zeros(encoder.dim),
    }
    torch.save({"predictor": STATE | wide}, tmp_path / "ac.pt")
    with pytest.raises(
        UserError, match=r"ac\.pt: its encoder is a TimmEncoder, which keeps .* got size=48, expected none"
    ):
        load_world_model(tmp_path / "ac.pt", heads=2, size=48, encoder=encoder)
    found = load_world_model(tmp_path / "ac.pt", heads=2, encoder=encoder).dynamics
    assert isinstance(found, VJepa2ACDynamics) and found.grid == (10, 10)
