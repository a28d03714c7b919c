"""Checkpoints of what is learned, over training."""

from pathlib import Path

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from jepa_wm.checkpoint import save_modules
from pretrain.callbacks.after_step import AfterStep, training_of
from pretrain.callbacks.nan_guard import NanGuard
from pretrain.module import Training


class Snapshots(AfterStep):
    """Save what the objectives export to `checkpoints/step-…`, evenly over training, and at last to `model`.

    Args:
        run: the run folder.
        count: snapshots after the one at step 0; the last is that of the end.
        guard: looks before each; it comes before this among the callbacks.
    """

    def __init__(self, run: Path, count: int, guard: NanGuard) -> None:
        self.run, self.count, self.guard = run, count, guard

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the untrained model, unless the run is resumed."""
        super().on_train_start(trainer, pl_module)
        if trainer.global_step == 0:
            self._save(trainer, training_of(pl_module))

    def after_step(self, trainer: L.Trainer, training: Training) -> None:
        """Save whenever another share of the steps is done."""
        step, steps = trainer.global_step, trainer.max_steps
        if step * self.count // steps > (step - 1) * self.count // steps:
            self.guard.look(trainer)
            self._save(trainer, training)

    @rank_zero_only
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the trained model, if training came to its end."""
        if trainer.global_step >= trainer.max_steps:
            save_modules(self.run / "model", training_of(pl_module).exported())

    @rank_zero_only
    def _save(self, trainer: L.Trainer, training: Training) -> None:
        save_modules(self.run / "checkpoints" / f"step-{trainer.global_step:06d}", training.exported())
