"""A small collection and a small recipe, for training tests."""

from pathlib import Path

import pytest
import yaml

from jepa_wm.control.collect import collect
from jepa_wm.paths import find_config


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection") / "shards"
    collect(str(folder), episodes=40, steps=12, size=32, held_out=0.4)
    return folder


@pytest.fixture(scope="session")
def recipes(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The shipped recipes, made small: file by stage."""
    folder = tmp_path_factory.mktemp("recipes")
    for stage in ("pretrain", "forecast"):
        config = yaml.safe_load(find_config(f"two_rooms/{stage}").read_text())
        config["snapshots"] = 2
        config["trainer"] |= {"max_steps": 6, "precision": "32-true", "val_check_interval": 3, "log_every_n_steps": 1}
        config["trainer"] |= {"limit_val_batches": 1, "accelerator": "cpu", "enable_progress_bar": False}
        config["data"] |= {"folder": str(shards), "frames": 3, "batch_size": 8}
        objectives = config["model"]["objectives"]
        if stage == "pretrain":
            config["model"]["encoder"]["init_args"] = {"patch": 8, "dim": 24, "depth": 1, "heads": 3, "latent_dim": 6}
            tower = {"latent_dim": 6, "embed_dim": 8, "width": 16, "layers": 1, "heads": 2}
            objectives["text"]["init_args"]["text"]["init_args"] = tower
        else:
            sizes = {"latent_dim": 6, "width": 12, "depth": 1, "heads": 2}
            objectives["forecast"]["init_args"]["dynamics"]["init_args"] |= sizes
        (folder / f"{stage}.yaml").write_text(yaml.safe_dump(config))
    return {stage: folder / f"{stage}.yaml" for stage in ("pretrain", "forecast")}
