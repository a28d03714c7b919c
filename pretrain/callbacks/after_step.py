"""What acts after optimiser steps, and not after batches."""

from typing import Any

import lightning as L

from pretrain.module import Training


class AfterStep(L.Callback):
    """A callback that acts once after each optimiser step: of batches that are accumulated, after the last."""

    _step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note where training begins or goes on."""
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Act if a step was made."""
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            self.after_step(trainer, training_of(pl_module))

    def after_step(self, trainer: L.Trainer, training: Training) -> None:
        """Act; `trainer.global_step` steps are done."""
        raise NotImplementedError


def training_of(module: L.LightningModule) -> Training:
    """The module, which is always of this class."""
    assert isinstance(module, Training)
    return module
