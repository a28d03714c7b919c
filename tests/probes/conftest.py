"""A small collection, and run folders as training leaves them."""

from pathlib import Path

import pytest
import torch

from jepa_wm.checkpoint import save_modules
from jepa_wm.control.collect import collect
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.encoders import ClipText, GridPool, TextAlignment, ViT
from jepa_wm.manifest import write_manifest
from jepa_wm.world_model import WorldModel


@pytest.fixture(scope="session")
def collection(tmp_path_factory):
    """40 training episodes, 5 for val and 5 for test, of 24 steps; colour and size vary, the rest is fixed."""
    folder = tmp_path_factory.mktemp("collection") / "shards"
    factors = {"agent_color": "sample", "agent_size": "sample"}
    collect(str(folder), episodes=50, steps=24, size=32, factors=factors, held_out=0.2, seed=1)
    return folder


@pytest.fixture(scope="session")
def world_model():
    torch.manual_seed(3)
    encoder = ViT(patch=8, dim=32, depth=1, heads=2, pooling=GridPool(16))
    text = TextAlignment(16, ClipText(16, 16, 1, 2))
    return WorldModel(encoder, TransformerDynamics(latent_dim=16, trunk=Trunk(32, 1, 2)), text).eval()


def write_run(folder: Path, stage: str, modules: dict[str, torch.nn.Module], steps: tuple[int, ...]) -> Path:
    for step in steps:
        save_modules(folder / "checkpoints" / f"step-{step:06d}", modules)
    save_modules(folder / "model", modules)
    write_manifest(folder, stage, config={})
    return folder


@pytest.fixture
def runs(tmp_path, world_model):
    """Finished folders "pretrain", with checkpoints of steps 0 and 1000000, and "forecast", with step 7."""
    parts = {"encoder": world_model.encoder, "text": world_model.text}
    return {
        "pretrain": write_run(tmp_path / "pretrain", "pretrain", parts, (1_000_000, 0)),
        "forecast": write_run(tmp_path / "forecast", "forecast", {**parts, "dynamics": world_model.dynamics}, (7,)),
    }
