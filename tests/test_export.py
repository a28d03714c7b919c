"""Exported programs run where this package is not, and say what the model says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jepa_wm import WorldModel
from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics import (
    Ensemble,
    LeWMDynamics,
    MLPDynamics,
    PrefixDynamics,
    RecurrentDynamics,
    TransformerDynamics,
    Trunk,
)
from jepa_wm.encoders import GridPool, Learned, PatchFrames, SinCos, StateFrames, ViT
from jepa_wm.errors import UserError
from jepa_wm.export import export, programs

ALONE = """
import sys
for name in ("jepa_wm", "pretrain", "probes", "timm", "open_clip", "lightning", "gymnasium", "torchvision"):
    sys.modules[name] = None
import json, torch
encode, rollout = (torch.export.load(f"{sys.argv[1]}/{name}.pt2").module() for name in ("encode", "rollout"))
given = torch.load(f"{sys.argv[1]}/given.pt")
extra = {"world_model.json": ""}
torch.export.load(f"{sys.argv[1]}/rollout.pt2", extra_files=extra)
answers = []
for seen, actions in given:
    latents = encode(*seen)
    answers.append((latents, rollout(latents, actions)))
torch.save((answers, json.loads(extra["world_model.json"])), f"{sys.argv[1]}/answers.pt")
"""


def lively(dynamics: Dynamics) -> Dynamics:
    with torch.no_grad():
        for parameter in dynamics.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    dynamics.prepare({"action_mean": [0.1, -0.2], "action_std": [0.5, 2.0]})
    return dynamics.eval()


def actions(batch: int) -> torch.Tensor:
    return torch.rand(batch, 3, 6) * 2 - 1


@pytest.mark.slow
def test_programs_run_without_the_package_and_for_other_batches(tmp_path: Path) -> None:
    torch.manual_seed(0)
    frames = StateFrames(PatchFrames(), 3, 4)
    dynamics = lively(TransformerDynamics(16, (2, 2), 2, 3, trunk=Trunk(8, 1, 2), window=2))
    model = WorldModel(ViT(patch=8, dim=12, depth=1, heads=2), dynamics, frames=frames).eval()
    model.save_pretrained(tmp_path / "model")
    export(str(tmp_path / "model"), str(tmp_path / "out"), size=16, horizon=3)
    given = [
        ((torch.randint(256, (batch, 3, 16, 16), dtype=torch.uint8), torch.randn(batch, 3)), actions(batch))
        for batch in (1, 2, 5)
    ]
    torch.save(given, tmp_path / "out" / "given.pt")
    subprocess.run([sys.executable, "-c", ALONE, str(tmp_path / "out")], check=True, cwd=tmp_path)
    answers, notes = torch.load(tmp_path / "out" / "answers.pt")
    for ((pixels, state), blocks), (latents, future) in zip(given, answers, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(latents, model.encode(pixels[:, None], state[:, None])[:, 0])
        torch.testing.assert_close(future, model.imagine(pixels, blocks, state=state).latents, rtol=1e-5, atol=1e-5)
    assert (notes["size"], notes["horizon"], notes["frame_skip"], notes["state_dim"]) == (16, 3, 3, 3)
    assert notes["low"] == [-1.0, -1.0]


@pytest.mark.parametrize(
    "dynamics",
    [
        TransformerDynamics(6, (1, 1), 2, 3, trunk=Trunk(8, 1, 2), window=1),
        TransformerDynamics(6, (1, 1), 2, 3, trunk=Trunk(8, 1, 2), window=2),
        TransformerDynamics(6, (1, 1), 2, 3, trunk=Trunk(8, 1, 2), window=7),
        TransformerDynamics(6, (1, 1), 2, 3, trunk=Trunk(8, 1, 2), positions=SinCos()),
        TransformerDynamics(6, (1, 1), 2, 3, trunk=Trunk(8, 1, 2), positions=Learned((3, 1, 1))),
        MLPDynamics(6, 1, 2, 3, width=8),
        pytest.param(RecurrentDynamics(6, 1, 2, 3, width=8), marks=pytest.mark.slow),
        PrefixDynamics(TransformerDynamics(6, (1, 1), 2, 3, trunk=Trunk(8, 1, 2), window=4)),
        LeWMDynamics(6, 2, 3, depth=1, heads=2, head_dim=4, hidden=8),
        Ensemble(MLPDynamics(6, 1, 2, 3, width=8), 2),
    ],
    ids=lambda dynamics: type(dynamics).__name__,
)
def test_rollouts_of_each_form_are_those_of_the_model(dynamics: Dynamics) -> None:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    model = WorldModel(encoder, lively(dynamics)).eval()
    made = programs(model, 16, 3)
    pixels = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8)
    blocks = actions(3)
    with torch.no_grad():
        future = made["rollout"].module()(made["encode"].module()(pixels), blocks)
    torch.testing.assert_close(future, model.imagine(pixels, blocks).latents, rtol=1e-5, atol=1e-5)


def test_what_is_not_an_export_is_never_replaced(tmp_path: Path) -> None:
    kept = tmp_path / "run" / "manifest.json"
    kept.parent.mkdir()
    kept.touch()
    with pytest.raises(UserError, match=r"run holds manifest.json; expected a folder that is new, empty or an earlier"):
        export("anywhere", str(kept.parent), size=16)
    assert kept.is_file()
    model = WorldModel(
        ViT(patch=8, dim=6, depth=1, heads=2), TransformerDynamics(6, (2, 2), 2, 3, trunk=Trunk(8, 1, 2))
    )
    with pytest.raises(UserError, match="multiples of the patch 8"):
        programs(model, 17, 1)


def test_what_cannot_be_exported_is_refused() -> None:
    with pytest.raises(UserError, match="got size 0 and horizon 8; expected 1 or more"):
        export("anywhere", "out", size=0)
