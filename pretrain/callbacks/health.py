"""Whether the latents collapse while training goes on: the loss does not show it."""

import warnings
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor, nn

from jepa_wm.data import Shards
from jepa_wm.errors import UserError
from pretrain.callbacks.after_step import training_of
from pretrain.callbacks.held_out import read_held_out
from pretrain.callbacks.knowledge import knowledge
from probes.features import BATCH, encode
from probes.health import lidar, rankme, spread


@dataclass(frozen=True)
class Alarm:
    """What counts as a collapse of the latents, and what happens then.

    Args:
        rankme: RankMe below which they have collapsed.
        lidar: LiDAR below which they have; it is 1 or more, so a bound of 1 is none.
        spread: median standard deviation of a dimension below which they have.
        after: share of the training before which nothing is a collapse; many begin with one.
        stop: whether the run is stopped; else it is warned of.
    """

    rankme: float = 2.0
    lidar: float = 1.0
    spread: float = 1e-4
    after: float = 0.5
    stop: bool = False

    def __call__(
        self, health: dict[str, float], progress: float, step: int, width: int, whose: str = "encoder"
    ) -> None:
        """Warn or stop if what was measured of somebody's latents of `width` dimensions is below a bound.

        Raises:
            UserError: if it is, and `stop` was asked for.
        """
        bounds = {"RankMe": ("rankme", self.rankme), "LiDAR": ("lidar", self.lidar)}
        bounds["median spread"] = ("spread_median", self.spread)
        fallen = [
            f"{name} of the {whose}'s held-out latents is {health[key]:.4g} (below {bound:g}; they have {width} "
            "dimensions)"
            for name, (key, bound) in bounds.items()
            if health.get(key, bound) < bound
        ]
        if not fallen or progress <= self.after:
            return
        message = (
            f"collapse: {', '.join(fallen)} at step {step}; lower the learning rate or raise the weight of what "
            "spreads the latents (SIGReg), and mind a teacher's decay"
        )
        if self.stop:
            raise UserError(f"{message}; health.alarm.stop: false goes on all the same")
        warnings.warn(message, stacklevel=1)


class Health(L.Callback):
    """Measure the latents of held-out frames at each validation, and raise the alarm when they collapse.

    Logs, as `health/…`, RankMe, LiDAR over moments seen in several views, the least, median and greatest spread of
    a dimension, and R² of the state; as `probe/…`, probes of every other thing that is known of the frames. Where a
    teacher is exported, too, it is measured beside the encoder, as `health/teacher_…` and `probe/teacher_…`.

    Args:
        shards: what is measured.
        frames_per_episode: moments taken from each episode or video.
        views: views of each: the frames after it, or crops of an image.
        most: moments in all.
        size: side that frames are resized and cropped to, in pixels; None leaves them as they are. In a config it
            is that of `data.transform`, unless another is given.
        alarm: what counts as a collapse.
    """

    def __init__(
        self,
        shards: Shards,
        frames_per_episode: int = 6,
        views: int = 2,
        most: int = 1000,
        size: int | None = None,
        alarm: Alarm = Alarm(),
    ) -> None:
        if min(frames_per_episode, views - 1, most) < 1:
            raise UserError(
                f"health: got frames_per_episode {frames_per_episode}, views {views}, most {most}; "
                "expected at least 1, 2, 1"
            )
        self.alarm = alarm
        self.held_out = read_held_out(shards, frames_per_episode, views, most, size)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure and log."""
        training = training_of(pl_module)
        measured: dict[str, nn.Module] = {"encoder": training.encoder}
        if "teacher" in (exported := training.exported()):
            measured["teacher"] = exported["teacher"]
        for whose, encoder in measured.items():
            latents = self._latents(encoder, pl_module.device)
            health, known = self._measured(latents)
            prefix = "" if whose == "encoder" else f"{whose}_"
            found = {f"health/{prefix}{name}": value for name, value in health.items()}
            found |= {f"probe/{prefix}{name}": value for name, value in known.items()}
            for name, value in found.items():
                pl_module.log(name, value, rank_zero_only=True)
            self.alarm(health, training.progress, trainer.global_step, latents.shape[-1], whose)

    def _latents(self, encoder: nn.Module, device: torch.device) -> Tensor:
        """Those of all views of all moments (n, views, D), on the CPU."""
        pixels = self.held_out.pixels
        chunks = pixels.flatten(0, 1).split(BATCH)
        latents = torch.cat([encode(encoder, chunk.to(device)).cpu() for chunk in chunks])
        return latents.unflatten(0, pixels.shape[:2])

    def _measured(self, latents: Tensor) -> tuple[dict[str, float], dict[str, float]]:
        """Health, and what is known beside it."""
        first = latents[:, 0]
        health = {"rankme": rankme(first), **{f"spread_{name}": value for name, value in spread(first).items()}}
        if len(latents) > 1:
            health["lidar"] = lidar(latents)
        known = knowledge(first, self.held_out)
        health |= {name: known.pop(name) for name in ("position_r2", "position_knn_r2") if name in known}
        return health, known
