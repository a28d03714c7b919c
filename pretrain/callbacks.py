"""What happens beside a training step: snapshots of models, resumable state, health."""

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from jepa_wm.checkpoint import save_modules
from jepa_wm.data import BrokenSample, EpisodeShards
from jepa_wm.files import atomic_path, write_json
from pretrain.module import Training
from probes.health import rankme, spread
from probes.linear import ridge_probe


class Beginning(L.Callback):
    """Write the configuration into the run folder once training really begins, so that a mistake leaves none.

    Args:
        run: the run folder.
        config: the configuration, as JSON values.
    """

    def __init__(self, run: Path, config: dict[str, Any]) -> None:
        self.run, self.config = run, config

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it as JSON, to be compared with at the next start, and as YAML, to be run again."""
        write_json(self.run / "config.json", self.config)
        with atomic_path(self.run / "config.yaml") as aside:
            aside.write_text(yaml.safe_dump(self.config, sort_keys=False))


class Snapshots(L.Callback):
    """Save what the objectives export to `checkpoints/step-…`, evenly over training, and at last to `model`.

    Args:
        run: the run folder.
        count: snapshots after the one at step 0; the last is that of the end.
    """

    def __init__(self, run: Path, count: int) -> None:
        self.run, self.count = run, count

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the untrained model, unless the run is resumed."""
        if trainer.global_step == 0:
            self._save(trainer, pl_module)

    @rank_zero_only
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save whenever another share of the steps is done."""
        step, steps = trainer.global_step, trainer.max_steps
        if step * self.count // steps > (step - 1) * self.count // steps:
            self._save(trainer, pl_module)

    @rank_zero_only
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the trained model, if training came to its end."""
        if trainer.global_step >= trainer.max_steps:
            save_modules(self.run / "model", _training(pl_module).exported())

    def _save(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        folder = self.run / "checkpoints" / f"step-{trainer.global_step:06d}"
        save_modules(folder, _training(pl_module).exported())


class Resumable(L.Callback):
    """Keep the whole state of training in `resume.ckpt`: weights, optimiser, schedule, place in the data.

    Args:
        run: the run folder.
        every: steps between two saves, the most that a killed run repeats.
    """

    def __init__(self, run: Path, every: int = 50) -> None:
        self.path, self.every = run / "resume.ckpt", every

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save aside and rename."""
        if trainer.global_step % self.every == 0 and trainer.global_step < trainer.max_steps:
            with atomic_path(self.path) as aside:
                trainer.save_checkpoint(aside)


class Counts(L.Callback):
    """Log how many samples each source of the training data has given, and how many were broken."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Log them; the trainer decides how often."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        for source, count in data.report().items():
            pl_module.log(f"data/{source}/samples", float(count["train_samples"]), rank_zero_only=True)
            pl_module.log(f"data/{source}/broken", float(len(count["train_broken"])), rank_zero_only=True)


class Health(L.Callback):
    """Measure the latents of held-out frames at each validation, and warn when they collapse.

    Logs RankMe, the least and the median spread of a dimension, and R² of a ridge probe of the
    state: trained on the first half of the episodes, chosen on the next quarter, tested on the last.

    Args:
        folder: folder of shards; the `val` split is measured.
        frames_per_episode: frames taken from each episode.
        alarm: RankMe below which the latents count as collapsed.
    """

    def __init__(self, folder: str, frames_per_episode: int = 6, alarm: float = 2.0) -> None:
        self.alarm = alarm
        self.pixels, self.state, self.episode = _held_out_frames(folder, frames_per_episode)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure and log."""
        encoder: Any = _training(pl_module).encoder
        chunks = self.pixels.split(256)
        latents = torch.cat([encoder.pooled(chunk.to(pl_module.device)).float().cpu() for chunk in chunks])
        health = {"rankme": rankme(latents), **{f"spread_{k}": v for k, v in spread(latents).items()}}
        if float(latents.std(dim=0).max()) > 0:
            health["position_r2"] = self._state_probe(latents)
        for name, value in health.items():
            pl_module.log(f"health/{name}", value, rank_zero_only=True)
        if health["rankme"] < self.alarm and _training(pl_module).progress > 0.5:
            warnings.warn(
                f"collapse: RankMe of held-out latents is {health['rankme']:.1f} of {latents.shape[1]} "
                f"at step {trainer.global_step}; lower the learning rate or raise the SIGReg weight",
                stacklevel=1,
            )

    def _state_probe(self, latents: Tensor) -> float:
        last = int(self.episode[-1]) + 1
        train, test = self.episode < last // 2, self.episode >= last * 3 // 4
        train_xy, val_xy, test_xy = ((latents[part], self.state[part]) for part in (train, ~(train | test), test))
        return ridge_probe(train_xy, val_xy, test_xy, groups=self.episode).r2.value


def _held_out_frames(folder: str, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames spread evenly over each episode of `val`: pixels, states and numbers of the episodes."""
    shards = EpisodeShards(folder, "val")
    pixels, states, numbers = [], [], []
    for number in range(len(shards)):
        try:
            episode = shards[number]
        except BrokenSample:
            continue
        times = torch.linspace(0, len(episode.frames) - 1, count).long()
        pixels.append(torch.from_numpy(episode.frames[times.numpy()]))
        states.append(torch.from_numpy(episode.state[times.numpy()]))
        numbers.append(torch.full((count,), number))
    return torch.cat(pixels), torch.cat(states), torch.cat(numbers)


def _training(module: L.LightningModule) -> Training:
    assert isinstance(module, Training)
    return module
