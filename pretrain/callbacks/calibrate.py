"""What is fitted when training is over."""

import warnings
from collections.abc import Iterator

import lightning as L

from jepa_wm.contracts import Batch
from jepa_wm.data import Loader
from jepa_wm.errors import UserError
from pretrain.callbacks.after_step import training_of

BATCHES = {"train": 32, "val": 8}
"""Of the training's size, at most."""


class Calibrate(L.Callback):
    """Show each objective a few batches of both splits; among the callbacks it comes before what saves the model.

    Args:
        frames: of the clips that are shown, as many as are looked ahead later on; None for those of the training.
    """

    def __init__(self, frames: int | None = None) -> None:
        self.frames = frames
        self.longer: dict[str, Loader] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse, before anything is trained, clips that cannot be had."""
        if self.frames:
            data = trainer.datamodule  # type: ignore[attr-defined]
            self.longer = {split: data.longer(split, self.frames) for split in BATCHES}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Calibrate, if training came to its end; of several ranks, the first sees its share of the clips and saves."""
        if trainer.global_step < trainer.max_steps:
            return
        # In float32, as `imagine` answers, for where members agree half the bits are noise. A search in bfloat16 reads
        # the same off its futures as long as they do not agree so well: see docs/world-models.md.
        for objective in training_of(pl_module).eval().each():
            try:
                objective.calibrate(*(self._batches(trainer, split) for split in BATCHES))
            except UserError as error:  # what was trained is worth more than its calibration
                warnings.warn(f"not calibrated: {error}", stacklevel=1)

    def _batches(self, trainer: L.Trainer, split: str) -> Iterator[Batch]:
        data = trainer.datamodule  # type: ignore[attr-defined]
        # The loader of the training, if there was one: a new one would forget the broken samples that it met.
        own = data.loaders.get(split) or getattr(data, f"{split}_dataloader")()
        loader, clips = self.longer.get(split, own), BATCHES[split] * data.batch_size
        before, batches = (loader.epoch, loader.position), iter(loader)
        try:
            while clips > 0 and (batch := next(batches, None)):
                clips -= len(batch["index"])
                yield trainer.strategy.batch_to_device(batch)
        finally:  # What is saved of the run is where its training ended.
            loader.epoch, loader.position = before
