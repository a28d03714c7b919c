"""Samples drawn and samples broken."""

from typing import Any

import lightning as L


class Counts(L.Callback):
    """Log how many samples each source of the training data has given, and how many were broken."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Log them; the trainer decides how often."""
        report = trainer.datamodule.report()  # type: ignore[attr-defined]
        for source, count in report.items():
            # Of a mixture each is told apart; else runs on data that lie elsewhere have the same columns.
            name = f"data/{source.strip('/')}" if len(report) > 1 else "data"
            pl_module.log(f"{name}/samples", float(count["train_samples"]), rank_zero_only=True)
            pl_module.log(f"{name}/broken", float(len(count["train_broken"])), rank_zero_only=True)
