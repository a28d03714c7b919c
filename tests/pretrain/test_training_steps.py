"""What a step of training, a validation and a health check compute, held against a computation by hand."""

import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Objective
from jepa_wm.encoders import TextAlignment, ViT
from jepa_wm.objectives import ContrastiveText, MaskedLatentPrediction
from pretrain.callbacks.health import Alarm, Health
from pretrain.data import ClipDataModule
from pretrain.loggers import JsonLines
from pretrain.module import Training

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings(r"ignore:.*isinstance\(treespec:"),
    pytest.mark.filterwarnings("ignore:Found .* in eval mode"),
    # Lightning looks for a cluster's variables.
    pytest.mark.filterwarnings("ignore:.*srun"),
]


class Dropped(Objective):
    """A loss that differs between training and evaluation, and remembers how it was called."""

    def __init__(self, encoder: ViT) -> None:
        super().__init__()
        self.encoder, self.drop = encoder, nn.Dropout(0.5)
        self.calls: list[tuple[bool, int]] = []
        self.progress: list[float] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.calls.append((self.training, batch["step"]))
        return {"loss": self.drop(self.encoder.pool(self.encoder(batch["pixels"][:, 0]))).square().mean()}

    def after_step(self, progress: float) -> None:
        self.progress.append(progress)

    def exported(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder}


def vit() -> ViT:
    torch.manual_seed(0)
    return ViT(patch=8, dim=24, depth=1, heads=3, latent_dim=6)


def fit(training: Training, shards: Path, folder: Path, *callbacks: L.Callback) -> ClipDataModule:
    """Four steps with a validation on two batches after the second and the last."""
    data = ClipDataModule(str(shards), frames=3, batch_size=8)
    trainer = L.Trainer(
        max_steps=4,
        accelerator="cpu",
        logger=JsonLines(folder),
        callbacks=list(callbacks),
        val_check_interval=2,
        check_val_every_n_epoch=None,
        limit_val_batches=2,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(training, datamodule=data)
    return data


def records(folder: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def test_validation_is_the_weighted_sum_in_eval_mode(shards: Path, tmp_path: Path) -> None:
    objectives: dict[str, Any] = {
        "masked": MaskedLatentPrediction,
        "text": partial(ContrastiveText, text=TextAlignment(6, 8, 16, 1, 2)),
        "dropped": Dropped,
    }
    weights = {"text": 0.25, "dropped": 3.0}
    training = Training(vit(), objectives, weights, lr=1e-2)
    batches = list(fit(training, shards, tmp_path).val_dataloader())[:2]
    training.eval()
    total, size = 0.0, 0
    with torch.no_grad():
        for number, batch in enumerate(batches):
            terms = {name: part({**batch, "step": number})["loss"] for name, part in training.objectives.items()}
            total += len(batch["pixels"]) * float(terms["masked"] + 0.25 * terms["text"] + 3.0 * terms["dropped"])
            size += len(batch["pixels"])
    first, last = records(tmp_path, "val/loss")
    assert last == pytest.approx(total / size, rel=1e-5) and first != pytest.approx(last, rel=1e-4)


def test_objectives_learn_the_step_and_follow_each_step_once(shards: Path, tmp_path: Path) -> None:
    training = Training(vit(), {"dropped": Dropped})
    fit(training, shards, tmp_path)
    watched: Any = training.objectives["dropped"]
    train, val = [(True, i) for i in range(4)], [(False, i) for i in range(2)]
    assert watched.calls == train[:2] + val + train[2:] + val
    assert watched.progress == [0, 0.25, 0.5, 0.75]


def test_the_teacher_is_the_moving_average_of_the_encoder_after_each_step(shards: Path, tmp_path: Path) -> None:
    class Follow(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
            seen.append(encoder.embed.weight.detach().clone())

    encoder = vit()
    seen: list[Tensor] = [encoder.embed.weight.detach().clone()]
    training = Training(encoder, {"masked": partial(MaskedLatentPrediction, decay=(0.9, 0.5))}, lr=1e-2)
    fit(training, shards, tmp_path, Follow())
    expected = seen[0]
    for decay, weight in zip((0.9, 0.8, 0.7, 0.6), seen[1:], strict=True):
        expected = decay * expected + (1 - decay) * weight
    masked: Any = training.objectives["masked"]
    torch.testing.assert_close(masked.teacher.embed.weight, expected)
    assert not torch.allclose(expected, seen[-1]) and not torch.allclose(expected, seen[0])


@pytest.mark.parametrize("constant", [True, False])
def test_constant_latents_are_called_a_collapse_after_half_of_the_steps(
    shards: Path, tmp_path: Path, constant: bool
) -> None:
    encoder = vit()
    with torch.no_grad():
        if constant:
            encoder.neck[-1].weight.zero_()
        else:
            # Latents of an untrained encoder share a large mean; without it they fill their dimensions.
            encoder.neck[-1].weight.mul_(0.0).add_(torch.randn_like(encoder.neck[-1].weight))
    # At a rate of zero nothing moves: what is measured is the encoder above.
    training = Training(encoder, {"dropped": Dropped}, lr=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(training, shards, tmp_path, Health(str(shards), alarm=Alarm(rankme=1.0001, spread=0.0)))
    said = [str(warning.message) for warning in caught if "collapse" in str(warning.message)]
    assert len(said) == constant and all("at step 4" in message for message in said)
    assert (records(tmp_path, "health/rankme")[-1] == pytest.approx(1, abs=1e-4)) == constant
    assert (records(tmp_path, "health/spread_max")[-1] < 1e-6) == constant
    # A probe of latents that do not vary would be a probe of rounding errors.
    assert bool(records(tmp_path, "health/position_r2")) != constant
