"""stable-worldmodel's DINO-WM, saved as it is published, against its code's numbers (tests/golden/make_prejepa.py)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jepa_wm import WorldModel, load_world_model
from jepa_wm.dynamics import DinoWMDynamics
from jepa_wm.dynamics.layouts.prejepa import as_dino_wm
from jepa_wm.encoders import ViT
from jepa_wm.errors import UserError
from tests.golden.formula import formula, matches, pixels, step_matches, tensor

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "prejepa.json").read_text())
CONFIG = {"_target_": "stable_worldmodel.wm.PreJEPA", "encoder": {"name": "dinov2_small"}}
CONFIG |= {"predictor": {"heads": 2, "num_frames": 3, "dropout": 0.0}}  # type: ignore[dict-item]
UNITS = {f"{name}_{kind}": [float(kind == "std")] * 4 for name in ("action", "state") for kind in ("mean", "std")}
UNITS |= {"action_mean": [0.0] * 2, "action_std": [1.0] * 2, "action_bounds": [[-1.0] * 2, [1.0] * 2]}  # type: ignore
STATE = torch.cat([tensor("prejepa.proprio", (2, 4, 3)), tensor("prejepa.gripper", (2, 4, 1))], dim=-1)
PIXELS = pixels("prejepa.pixels", (8, 3, 8, 8)).unflatten(0, (2, -1))


def weights() -> dict[str, Tensor]:
    masks = {name: torch.ones(shape) for name, shape in GOLDEN["masks"].items()}
    return masks | {name: formula(name, shape) for name, shape in GOLDEN["shapes"].items()}


def loaded(folder: Path, state: Any, **said: Any) -> WorldModel:
    torch.save(state, folder / "weights.pt")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return load_world_model(folder, **{"action_dim": 2, "size": 8, "statistics": UNITS} | said)


@torch.no_grad()
@pytest.mark.parametrize("wrapped", [False, True])
def test_it_encodes_and_imagines_as_published(tmp_path: Path, wrapped: bool) -> None:
    state = {name: value.float() for name, value in weights().items()}
    if wrapped:  # as older versions of it, which put their encoder in a box, and training checkpoints
        state = {name.replace("backbone.", "backbone.backbone."): value for name, value in state.items()}
        state = {"state_dict": {f"model.{name}": value for name, value in state.items()}}
    model = loaded(tmp_path, state)
    assert isinstance(model.dynamics, DinoWMDynamics) and model.dynamics.window == 3
    assert matches(GOLDEN["encoded"], model.encode(PIXELS, STATE), 1e-5)
    ahead = tensor("prejepa.ahead", (2, 6, 6)).float()
    found = model.imagine(PIXELS[:, :2], ahead[:, 1:], ahead[:, :1], STATE[:, :2])
    assert matches(GOLDEN["imagined"], found.latents, 1e-5)
    model.save_pretrained(tmp_path / "own")
    again = load_world_model(tmp_path / "own").imagine(PIXELS[:, :2], ahead[:, 1:], ahead[:, :1], STATE[:, :2])
    torch.testing.assert_close(again.latents, found.latents)


def test_a_training_step_is_the_published_one(tmp_path: Path) -> None:
    model = loaded(tmp_path, weights()).double().train()
    with torch.no_grad():
        latents = model.encode(PIXELS, STATE)
    taken = tensor("prejepa.actions", (2, 4, 6))
    predicted = model.dynamics(latents[:, :3], taken[:, :3])
    assert matches(GOLDEN["predicted"], predicted, 1e-5)
    loss = (predicted - latents[:, 1:]).square().mean()
    assert isinstance(model.dynamics, DinoWMDynamics)
    (slope,) = torch.autograd.grad(loss, model.dynamics.blocks[0].out.bias, retain_graph=True)  # type: ignore
    # The channels of a token are in another order here: the action's are last.
    theirs = torch.empty_like(slope).index_copy(0, torch.tensor([*range(66), 69, *range(66, 69)]), slope)
    assert matches(GOLDEN["gradients"]["predictor.transformer.layers.0.0.to_out.0.bias"], theirs, 1e-5)
    names = {
        "predictor.transformer.layers.1.1.net.1.bias": "dynamics.blocks.1.rise.bias",
        "extra_encoders.action.patch_embed.bias": "dynamics.actions.embed.bias",
    }
    assert step_matches(GOLDEN, loss, model, names, 1e-5)


def test_channels_that_are_in_order_stay_where_they_are() -> None:
    state = {name: value for name, value in weights().items() if "gripper" not in name}
    state = {name: value[..., :69] if value.shape[-1:] == (70,) else value for name, value in state.items()}
    found = as_dino_wm({name: value[:69] if len(value) == 70 else value for name, value in state.items()})
    for name, value in found.items():
        theirs = re.sub("^(action|proprio)_encoder", r"extra_encoders.\1", name)
        torch.testing.assert_close(value, state[theirs][:69] if len(state[theirs]) == 70 else state[theirs])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it has an encoder of its own; got encoder=a ViT"):
        loaded(tmp_path, weights(), encoder=ViT(patch=4, dim=64, depth=1, heads=2))
    other = {name.replace("layer_scale1", "scale"): value for name, value in weights().items()}
    with pytest.raises(UserError, match=r"weights\.pt: its encoder has no names of a DINOv2"):
        loaded(tmp_path, other)
    with pytest.raises(UserError, match=r"positions are of 12 tokens.*got 9 tokens a frame"):
        loaded(tmp_path, weights(), size=12)
    less = {name: value for name, value in weights().items() if "net.4.bias" not in name}
    with pytest.raises(UserError, match=r"missing blocks\.0\.fall\.bias"):
        loaded(tmp_path, less)
