"""A small collection and a small recipe, for training tests."""

import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Objective
from jepa_wm.control.collect import collect
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.paths import find_config
from pretrain.data import ClipDataModule
from pretrain.loggers import JsonLines
from pretrain.module import Training


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
            config["model"]["encoder"]["init_args"] = {"patch": 8, "dim": 24, "depth": 1, "heads": 3}
            pooling = {"class_path": "jepa_wm.encoders.GridPool", "init_args": {"width": 6}}
            config["model"]["encoder"]["init_args"]["pooling"] = pooling
            objectives["masked"]["init_args"]["predictor"] = {"width": 12, "depth": 1, "heads": 2}
            tower = {"dim": 8, "width": 16, "layers": 1, "heads": 2}
            tower = {"latent_dim": 6, "tower": {"class_path": "jepa_wm.encoders.ClipText", "init_args": tower}}
            objectives["text"]["init_args"]["text"]["init_args"] = tower
        else:
            sizes = {"latent_dim": 6, "trunk": {"width": 12, "depth": 1, "heads": 2}}
            objectives["forecast"]["init_args"]["dynamics"]["init_args"] |= sizes
            state = objectives["forecast"]["init_args"]["terms"]["state"]["init_args"]["head"]
            state["init_args"] |= {"latent_dim": 6, "width": 8}
        (folder / f"{stage}.yaml").write_text(yaml.safe_dump(config))
    return {stage: folder / f"{stage}.yaml" for stage in ("pretrain", "forecast")}


class Dropped(Objective):
    """A loss that differs between training and evaluation, and remembers how it was called."""

    def __init__(self, encoder: ViT, share: float = 0.5) -> None:
        super().__init__()
        self.encoder, self.drop = encoder, nn.Dropout(share)
        self.calls: list[tuple[bool, int]] = []
        self.progress: list[float] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.calls.append((self.training, batch["step"]))
        return {"loss": self.drop(self.encoder.pooled(batch["pixels"][:, 0])).square().mean()}

    def after_step(self, progress: float) -> None:
        self.progress.append(progress)

    def exported(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder}


@pytest.fixture
def dropped() -> type[Dropped]:
    return Dropped


@pytest.fixture
def vit() -> Callable[[], ViT]:
    def build() -> ViT:
        torch.manual_seed(0)
        return ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6))

    return build


Fit = Callable[..., ClipDataModule]


@pytest.fixture
def fit(shards: Path) -> Fit:
    """Four steps with a validation on two batches after the second and the last."""

    def run(
        training: Training,
        folder: Path,
        *callbacks: L.Callback,
        batch_size: int = 8,
        frames: int = 3,
        accumulate: int = 1,
        steps: int = 4,
        resume: Path | None = None,
    ) -> ClipDataModule:
        data = ClipDataModule(str(shards), frames=frames, batch_size=batch_size)
        trainer = L.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=JsonLines(folder),
            callbacks=list(callbacks),
            accumulate_grad_batches=accumulate,
            val_check_interval=2,
            check_val_every_n_epoch=None,
            limit_val_batches=2,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        with warnings.catch_warnings():
            # The last: Lightning looks for a cluster's variables.
            for message in ("does not have many workers", r"isinstance\(treespec", "Found .* in eval mode", "srun"):
                warnings.filterwarnings("ignore", message=f".*{message}")
            trainer.fit(training, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
        return data

    return run
