"""What is fitted to held-out clips when training is over."""

import warnings
from collections.abc import Iterator
from itertools import islice

import lightning as L

from jepa_wm.contracts import Batch
from jepa_wm.errors import UserError
from pretrain.callbacks.after_step import training_of

BATCHES = 8


class Calibrate(L.Callback):
    """Show each objective a few held-out batches; among the callbacks it comes before what saves the model."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Calibrate, if training came to its end; of several ranks, the first sees its share of the clips and saves."""
        if trainer.global_step < trainer.max_steps:
            return
        # In the precision that the model imagines in: where members agree, half the bits are noise.
        for objective in training_of(pl_module).eval().each():
            try:
                objective.calibrate(_batches(trainer))
            except UserError as error:  # what was trained is worth more than its calibration
                warnings.warn(f"not calibrated: {error}", stacklevel=1)


def _batches(trainer: L.Trainer) -> Iterator[Batch]:
    data = trainer.datamodule  # type: ignore[attr-defined]
    # The loader of the validations, if there were any: a new one would forget the broken samples that they met.
    for batch in islice(data.loaders.get("val") or data.val_dataloader(), BATCHES):
        yield trainer.strategy.batch_to_device(batch)
