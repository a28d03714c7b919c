"""DINO-WM as jepa-wms trains it, against its code's numbers (tests/golden/make_dino_wm_jepa_wms.py)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jepa_wm import WorldModel, load_world_model
from jepa_wm.dynamics import rollout
from jepa_wm.dynamics.layouts.dino_wm import predictor
from jepa_wm.encoders import PatchFrames, StateFrames, ViT
from tests.golden.formula import fill, matches, tensor

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "dino_wm_jepa_wms.json").read_text())
forms = pytest.mark.parametrize(("form", "felt"), [("felt", 2), ("blind", 0)])


def published(form: str) -> dict[str, dict[str, Tensor]]:
    """State dicts by part, and the mask that is a buffer of each block."""
    parts = {part: fill(shapes, f"{part}.") for part, shapes in GOLDEN[form]["shapes"].items()}
    masks = {f"transformer.layers.{block}.0.bias": torch.ones(1, 1, 1024, 1024) for block in range(2)}
    return parts | {"predictor": parts["predictor"] | masks}


def loaded(form: str, folder: Path) -> WorldModel:
    """The world model in a file as it is published, beside an encoder whose tokens fit."""
    torch.save(published(form) | {"opt": {"state": {0: {"step": torch.ones(())}}}}, folder / "dino_wm.pth.tar")
    torch.manual_seed(0)
    return load_world_model(folder, action_dim=2, heads=2, encoder=ViT(patch=14, dim=8, depth=1, heads=2)).double()


def latents(model: WorldModel, felt: int) -> Tensor:
    """(B, T, N, D): patches, and beside each what is felt."""
    seen = tensor(f"dino_wm_jepa_wms.{felt}.latents", (1, 4, 256, 8))
    if not isinstance(model.frames, StateFrames):
        return seen
    beside = model.frames.embed(tensor(f"dino_wm_jepa_wms.{felt}.proprio", (1, 4, 3)))
    return torch.cat([seen, beside[:, :, None].expand(-1, -1, 256, -1)], dim=-1)


@forms
@torch.no_grad()
def test_it_sees_and_imagines_as_the_published_planning(form: str, felt: int, tmp_path: Path) -> None:
    model = loaded(form, tmp_path)
    assert isinstance(model.frames, StateFrames if felt else PatchFrames)
    assert model.encoder.preprocessing(torch.zeros(3, 300, 300, dtype=torch.uint8)).shape == (3, 224, 224)
    taken = tensor(f"dino_wm_jepa_wms.{felt}.taken", (4, 1, 6)).transpose(0, 1)
    found = rollout(model.dynamics, latents(model, felt)[:, :1], taken[:, :0], taken)
    assert matches(GOLDEN[form]["rollout"], found, 1e-5)


@forms
@torch.no_grad()
def test_four_frames_are_read_as_in_its_training(form: str, felt: int, tmp_path: Path) -> None:
    state = {f"{part}.{name}": value for part, inner in published(form).items() for name, value in inner.items()}
    made, seen = predictor(state, 256, 2, 2), latents(loaded(form, tmp_path), felt)
    assert matches(GOLDEN[form]["forced"], made(seen, tensor(f"dino_wm_jepa_wms.{felt}.actions", (1, 4, 6))), 1e-5)
    taken = tensor(f"dino_wm_jepa_wms.{felt}.taken", (4, 1, 6)).transpose(0, 1)
    assert not matches(GOLDEN[form]["rollout"], rollout(made, seen[:, :1], taken[:, :0], taken), 1e-5)


def test_robots_act_once_a_frame(tmp_path: Path) -> None:
    torch.save(published("blind"), tmp_path / "dino_wm_droid.pth.tar")
    found = load_world_model(tmp_path, heads=2, encoder=ViT(patch=14, dim=8, depth=1, heads=2)).dynamics
    assert (found.action_dim, found.frame_skip) == (6, 1)
