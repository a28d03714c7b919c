"""Samples drawn and samples broken."""

from typing import Any

import lightning as L


class Counts(L.Callback):
    """Log how many samples each source of the training data has given, and how many were broken."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Log them; the trainer decides how often."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        for source, count in data.report().items():
            pl_module.log(f"data/{source}/samples", float(count["train_samples"]), rank_zero_only=True)
            pl_module.log(f"data/{source}/broken", float(len(count["train_broken"])), rank_zero_only=True)
