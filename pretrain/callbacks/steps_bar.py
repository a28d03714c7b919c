"""How far a training is, on the terminal."""

from typing import Any

import lightning as L
from tqdm import tqdm


class StepsBar(L.Callback):
    """A bar over all optimiser steps, with the time that is left and the losses that were logged last.

    Lightning's own count the batches of an epoch, and there are no epochs here to count: a run is so many steps.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin where the run stands."""
        # Silent where nobody is watching: a log file would fill with bars.
        silent = None if trainer.is_global_zero else True
        self._bar = tqdm(
            total=trainer.max_steps, initial=trainer.global_step, unit="step", desc="train", disable=silent
        )

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Move it on, and tell the losses as often as the trainer logs them."""
        done = trainer.global_step - self._bar.n
        due = trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if done and due and not self._bar.disable:
            self._bar.set_postfix(trainer.progress_bar_metrics, refresh=False)
        self._bar.update(done)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave it standing."""
        self._bar.close()

    def on_exception(self, trainer: L.Trainer, *_: Any) -> None:
        """Leave it standing where training broke off, before the error is told."""
        if hasattr(self, "_bar"):
            self._bar.close()
