"""The first batch whose loss is not a number ends the run, and is kept."""

from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from jepa_wm.contracts import Batch
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, write_json
from pretrain.callbacks.after_step import training_of

GRADIENT = "gradient norm"
SHOWN = 16
"""Samples of the batch that the message names; the file lists them all."""


class NanGuard(L.Callback):
    """Stop at the first batch whose loss, terms or gradient are not finite, and keep it in `nan-batch.pt`.

    `nan-batch.json` says which samples it was made of. To look at a number the processor must wait for the
    device. So on an accelerator it looks only every few batches, and keeps them until then; on a CPU at each.
    It also looks before anything is saved, so what is resumed from is sound; it must come before what saves.

    Args:
        run: the run folder.
        every: batches between two looks; so many are held in memory. None for 10 on an accelerator and 1 on a CPU.
    """

    def __init__(self, run: Path, every: int | None = None) -> None:
        self.run, self.every = run, every
        self._seen: list[_Seen] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Take note of a batch, and look if it is time to."""
        training = training_of(pl_module)
        values = training.terms | ({} if training.gradient_norm is None else {GRADIENT: training.gradient_norm})
        stacked = torch.stack([value.float() for value in values.values()])
        self._seen.append(_Seen(trainer.global_step, batch, tuple(values), stacked))
        if len(self._seen) >= (self.every or (1 if stacked.device.type == "cpu" else 10)):
            self.look(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look, before a state that is lost takes the place of one that is not."""
        self.look(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the last batches."""
        self.look(trainer)

    def look(self, trainer: L.Trainer) -> None:
        """Look at the batches since the last look, on each rank at its own.

        Raises:
            UserError: at the first one that is not finite.
        """
        seen, self._seen = self._seen, []
        if not seen or bool(torch.cat([one.values for one in seen]).isfinite().all()):
            return
        for one in seen:
            wrong = [name for name, finite in zip(one.names, one.values.isfinite().tolist(), strict=True) if not finite]
            if wrong:
                raise UserError(self._keep(one, wrong, trainer.global_rank))

    def _keep(self, seen: "_Seen", wrong: list[str], rank: int) -> str:
        """Write the batch down; what is to be said of it."""
        path = self.run / (f"nan-batch-{rank}.pt" if rank else "nan-batch.pt")
        index = seen.batch.get("index")
        samples = index.tolist() if isinstance(index, Tensor) else None
        values = dict(zip(seen.names, map(str, seen.values.tolist()), strict=True))
        with atomic_path(path) as aside:
            cpu = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in seen.batch.items()}
            torch.save(cpu, aside)
        write_json(path.with_suffix(".json"), {"step": seen.step, "values": values, "index": samples})
        said = "; ".join(_said(name, values[name]) for name in wrong)
        named = "" if samples is None else f" of samples {samples[:SHOWN]}{' …' if len(samples) > SHOWN else ''}"
        return (
            f"step {seen.step}: {said}; the batch{named} is in {path}. Lower model.lr, clip gradients "
            "(trainer.gradient_clip_val), or look for what is wrong with the batch"
        )


class _Seen(NamedTuple):
    """A batch and its values, not looked at yet."""

    step: int
    batch: Batch
    names: tuple[str, ...]
    values: Tensor


def _said(name: str, value: str) -> str:
    if name == GRADIENT:
        return f"the gradient's norm is {value}"
    objective, _, term = name.partition("/")
    return f"term '{term}' of objective '{objective}' is {value}"
