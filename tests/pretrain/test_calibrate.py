"""What is fitted to clips at the end of a training."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from jepa_wm.dynamics import Ensemble, TransformerDynamics, Trunk
from jepa_wm.dynamics.calibration import Calibration
from jepa_wm.encoders import ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import Forecasting
from pretrain.callbacks import Calibrate
from pretrain.data import ClipDataModule
from pretrain.module import Training


def training(vit: Callable[[], ViT], dropout: float = 0.0) -> Training:
    def forecasting(encoder: ViT) -> Forecasting:
        return Forecasting(encoder, Ensemble(TransformerDynamics(6, (1, 1), 2, 5, Trunk(12, 1, 2, dropout=dropout)), 3))

    return Training(vit(), {"forecast": forecasting}, lr=1e-2)  # type: ignore[dict-item]


class Ended(L.Callback):
    """Where the training's loader was at the end."""

    place = (-1, -1)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loader = trainer.datamodule.loaders["train"]  # type: ignore[attr-defined]
        self.place = loader.epoch, loader.position


def test_the_scale_is_of_held_out_clips_and_the_model_is_the_trained_one(
    fit: Callable[..., object], vit: Callable[[], ViT], tmp_path: Path
) -> None:
    made, ended = training(vit, dropout=0.3), Ended()
    data = fit(made, tmp_path, ended, Calibrate())
    found = made.objectives["forecast"].calibration
    assert isinstance(found, Calibration) and found.scale != 1
    first = [found.scale.item(), *found.powers.tolist()]
    trained = data.loaders["train"]  # type: ignore[attr-defined]
    assert data.loaders["val"] is data.trainer.val_dataloaders  # type: ignore[attr-defined]
    assert (trained.epoch, trained.position) == ended.place
    made.eval()
    held_out = list(data.val_dataloader())[:8]  # type: ignore[attr-defined]
    made.objectives["forecast"].calibrate(islice(trained, 32), held_out)
    assert [found.scale.item(), *found.powers.tolist()] == pytest.approx(first, rel=1e-4)


def test_longer_clips_are_rolled_out_to_their_ends_and_training_does_not_notice(
    fit: Callable[..., ClipDataModule], vit: Callable[[], ViT], tmp_path: Path
) -> None:
    made, ended = training(vit), Ended()
    data = fit(made, tmp_path, ended, Calibrate(frames=3), batch_size=12, frames=2)
    found = made.objectives["forecast"].calibration
    assert isinstance(found, Calibration)
    first = [found.scale.item(), *found.powers.tolist()]
    assert (data.loaders["train"].epoch, data.loaders["train"].position) == ended.place
    made.eval()
    clips = {split: list(data.longer(split, 3)) for split in ("train", "val")}
    # No more frames at once than in training, 12 clips of 2.
    assert all(batch["pixels"].shape[:2] == (8, 3) for batch in clips["train"][:-1])
    made.objectives["forecast"].calibrate(clips["train"], clips["val"])
    assert [found.scale.item(), *found.powers.tolist()] == pytest.approx(first, rel=1e-4)


@pytest.mark.parametrize(
    ("frames", "why"), [(2, "of data.frames 3; expected clips, of the 2 frames"), (40, "shorter than 196")]
)
def test_clips_that_cannot_be_had_are_refused_before_the_training(
    frames: int, why: str, fit: Callable[..., ClipDataModule], vit: Callable[[], ViT], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=why):
        fit(training(vit), tmp_path, Calibrate(frames))


class Stopped(L.Callback):
    """Ends a training after its first step."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        trainer.should_stop = True


def test_a_training_that_did_not_come_to_its_end_is_not_calibrated(
    fit: Callable[..., object], vit: Callable[[], ViT], tmp_path: Path
) -> None:
    made = training(vit)
    data = fit(made, tmp_path, Stopped(), Calibrate())
    assert data.trainer.global_step == 1  # type: ignore[attr-defined]
    found = made.objectives["forecast"].calibration
    assert isinstance(found, Calibration)
    torch.testing.assert_close(found.state_dict(), Calibration(6).state_dict(), rtol=0, atol=0)


def test_what_cannot_be_calibrated_is_warned_of_and_does_not_end_the_run(
    fit: Callable[..., object], vit: Callable[[], ViT], tmp_path: Path
) -> None:
    made = training(vit)
    objective = made.objectives["forecast"]
    with torch.no_grad():  # members that are one
        for parameter in objective.dynamics.parameters():  # type: ignore[union-attr]
            parameter.copy_(parameter[:1].expand_as(parameter))
    with pytest.warns(UserWarning, match="not calibrated: Calibration: got .* with a spread of"):
        fit(made, tmp_path, Calibrate())
    assert objective.calibration.scale == 1
