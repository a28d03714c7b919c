"""The whole state of training, so that a run that is stopped goes on."""

import signal
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

import lightning as L

from jepa_wm.data import Loader
from jepa_wm.files import atomic_path
from pretrain.callbacks.after_step import AfterStep
from pretrain.module import Training

ASK = 10
"""Steps between two questions to all ranks: an answer waits for the device."""


class Resumable(AfterStep):
    """Keep the whole state of training in `resume.ckpt`: weights, optimiser, place in the data.

    At SIGTERM, which is what a cluster says before it takes its machine back, the step is finished, the state saved
    and the process ended with code 143. A signal during validation waits for the step after it.

    Args:
        run: the run folder.
        steps: optimiser steps between two saves, the most that a killed run repeats; None to go by the clock alone.
        minutes: minutes between two saves.
    """

    def __init__(self, run: Path, steps: int | None = 50, minutes: float = 5.0) -> None:
        self.path, self.steps, self.minutes = resume_path(run), steps, minutes
        self._saved, self._terminated = 0.0, False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, and listen. Lightning puts the handlers back that were there before training."""
        super().on_train_start(trainer, pl_module)
        _count_anew(trainer)
        self._saved, self._terminated = time.monotonic(), False
        if threading.current_thread() is threading.main_thread():
            # In the place of Lightning's, which ends training between batches whose gradients belong together.
            signal.signal(signal.SIGTERM, self._note)

    def after_step(self, trainer: L.Trainer, training: Training) -> None:
        """Save if it is time to; end if it was asked for."""
        if trainer.global_step >= trainer.max_steps:
            return
        late = time.monotonic() - self._saved >= 60 * self.minutes
        terminated = _any_rank(trainer, self._terminated)
        due = bool(self.steps) and trainer.global_step % (self.steps or 1) == 0
        if due or terminated or _any_rank(trainer, late):
            save_whole(trainer, self.path)
            self._saved = time.monotonic()
        if terminated:
            if trainer.is_global_zero:
                at = f"step {trainer.global_step} of {trainer.max_steps}"
                print(f"stopped by SIGTERM after {at}; run the same command again to continue", file=sys.stderr)
            raise SystemExit(128 + signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True


def _count_anew(trainer: L.Trainer) -> None:
    """Count the batches of the epoch that are done as the data do.

    Lightning goes on from the number that a rank had had when the state was saved; with more ranks than then an epoch
    has fewer batches, and by that number it would end before all samples had come.
    """
    loader = trainer.train_dataloader
    current = trainer.fit_loop.epoch_loop.batch_progress.current
    if not (isinstance(loader, Loader) and current.ready):
        return
    missing = len(loader) - loader.left - current.ready
    for name in vars(current):
        setattr(current, name, getattr(current, name) + missing)


def resume_path(run: Path) -> Path:
    """The state of a run that has not ended."""
    return run / "resume.ckpt"


def save_whole(trainer: L.Trainer, path: Path) -> None:
    """Save all of the training's state to `path`, aside first; every rank must call it."""
    # Only the first rank writes, so only it has something to rename.
    with atomic_path(path) if trainer.is_global_zero else nullcontext(path) as aside:
        trainer.save_checkpoint(aside)


def _any_rank(trainer: L.Trainer, here: bool) -> bool:
    """Whether it is so on any rank, and all of them know it."""
    if trainer.world_size == 1:
        return here
    return trainer.global_step % ASK == 0 and trainer.strategy.reduce_boolean_decision(here, all=False)
