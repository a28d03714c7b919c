"""Batches of samples, in an order that is a function of seed and epoch alone."""

import os
import signal
import threading
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from jepa_wm import distributed
from jepa_wm.contracts import Batch
from jepa_wm.data.broken import BrokenList, BrokenSample
from jepa_wm.data.order import Mixed, Order
from jepa_wm.data.samples import Samples, as_tensors, draw
from jepa_wm.data.share import steps_of
from jepa_wm.errors import UserError

Drawn = tuple[Batch | None, list[tuple[int, BrokenSample]]]
"""What `draw` gives."""


class Loader:
    """An iterable of batches, one epoch at a time; its state can be saved.

    Every `iter()` begins the next epoch, and the first one after `load_state_dict` goes on with the very
    next sample, whatever number of workers and ranks there is now; nothing that came before is decoded.
    With shuffle off every epoch is the same. A broken sample is warned of and noted in `broken`.

    Args:
        samples: what batches are made of.
        batch_size: rows B of a batch, on each rank: a multiple of `samples.rows`.
        seed: seeds the order, and what is drawn of each sample.
        workers: processes that decode; 0 decodes in this one.
        shuffle: whether the order changes from epoch to epoch.
        full: whether all batches are of the same size: samples at the end of an epoch that do not fill one on
            every rank are then left out (others in each epoch, if shuffled), and a neighbour takes a broken
            one's place. Otherwise each good sample comes exactly once, the last batches may be smaller or, where
            there are fewer samples left than ranks, larger by one sample. Ranks make the same number of steps
            either way.
        window: samples that are shuffled among each other, of shards in random order.
        max_broken: share of a source's samples that may be broken.

    Attributes:
        broken: the broken samples met, for each source.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        shuffle: bool = True,
        full: bool = False,
        window: int = 8192,
        max_broken: float = 0.01,
    ) -> None:
        if min(batch_size, window) < 1 or min(seed, workers, max_broken) < 0:
            raise UserError(
                f"batch_size is {batch_size}, window {window}, seed {seed}, workers {workers}, max_broken "
                f"{max_broken}; expected at least 1, 1, 0, 0, 0"
            )
        if batch_size % samples.rows:
            raise UserError(f"batch_size {batch_size} is not a multiple of the {samples.rows} clips cut from a sample")
        self.samples, self.seed, self.workers, self.shuffle, self.full = samples, seed, workers, shuffle, full
        self.broken = [BrokenList(str(source), len(source), max_broken) for source in samples.sources]
        self._order: Order = samples.order(seed, shuffle, window)
        self._each = batch_size // samples.rows
        self.epoch = self.position = 0
        self._resumed = False
        self._requests = _Requests(samples, self._order, window)

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        return len(self._steps(0))

    @property
    def left(self) -> int:
        """Batches of this epoch that are still to come, the same on every rank."""
        return len(self._steps(self.position)) if self.position else len(self)

    def _steps(self, begin: int) -> list[tuple[int, int, int]]:
        rank, world = distributed.rank(), distributed.world_size()
        steps = steps_of(begin, len(self._order), self._each, rank, world, self.full)
        if not begin and not steps:
            raise UserError(
                f"{self.samples} has {len(self._order)} samples: too few for {world} ranks with {self._each} a batch; "
                "use smaller batches, or full=False"
            )
        return steps

    def __iter__(self) -> Iterator[Batch]:
        """Hand out the batches of one epoch, or of what is left of it."""
        if self.position and not (self._resumed and self._steps(self.position)):
            self.epoch, self.position = self.epoch + 1, 0
        self._resumed = False
        steps = self._steps(self.position)
        self._requests.epoch, self._requests.steps = self._epoch, steps
        for (*_, end), drawn in zip(steps, self._decoded, strict=True):
            if isinstance(drawn, UserError):
                raise drawn
            batch, broken = drawn
            for source, error in broken:
                self.broken[source].add(error)
            self.position = end
            if batch is not None:
                yield as_tensors(batch)

    @cached_property
    def _decoded(self) -> DataLoader[Any]:
        return DataLoader(
            _Drawn(self.samples, self.seed, self.full, distributed.world_size() > 1),
            batch_size=None,
            sampler=self._requests,
            num_workers=self.workers,
            collate_fn=_as_is,
            pin_memory=torch.cuda.is_available(),
            # Without one of its own, DataLoader draws from the global generator, and a resumed run differs.
            generator=torch.Generator(),
            persistent_workers=self.workers > 0,
            worker_init_fn=_heed_only_the_trainer,
        )

    @property
    def _epoch(self) -> int:
        return self.epoch if self.shuffle else 0

    @property
    def drawn(self) -> list[int]:
        """How many samples of each source the ranks together have been given; in this epoch, if not shuffled."""
        if isinstance(self._order, Mixed):
            return self._order.drawn(self._epoch, self.position).tolist()
        return [self._epoch * len(self._order) + self.position]

    def state_dict(self) -> dict[str, int]:
        """The epoch, the samples of it that all ranks together have been given, and those it has."""
        return {"epoch": self.epoch, "samples": self.position, "of": len(self._order)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            UserError: if it was taken over other data.
        """
        if state["of"] != len(self._order):
            raise UserError(
                f"the run to resume had {state['of']} samples an epoch, {self.samples} has {len(self._order)}: "
                "the data have changed; start another run"
            )
        self.epoch, self.position = state["epoch"], state["samples"]
        self._resumed = True


class _Requests:
    """What each batch is to be made of, just ahead of the workers; shards needed soon are fetched.

    It does not know its loader: in a cycle of references workers would be told to end only after time-outs.
    """

    def __init__(self, samples: Samples, order: Order, window: int) -> None:
        self.samples, self.order, self.window = samples, order, window
        self.epoch, self.steps = 0, list[tuple[int, int, int]]()

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[np.ndarray]:
        announced = 0
        for start, stop, _ in self.steps:
            if stop > announced:
                announced = min(stop + self.window, len(self.order))
                _prefetch(self.samples, self.order.at(self.epoch, start, announced))
            yield self.order.at(self.epoch, start, stop)


def _prefetch(samples: Samples, requests: np.ndarray) -> None:
    for number, source in enumerate(samples.sources):
        source.prefetch(requests[requests[:, 0] == number, 2])


class _Drawn(Dataset[Any]):
    def __init__(self, samples: Samples, seed: int, full: bool, in_step: bool) -> None:
        self.samples, self.seed, self.full, self.in_step = samples, seed, full, in_step

    def __getitem__(self, requests: np.ndarray) -> Drawn | UserError:
        try:
            batch, broken = draw(self.samples, requests, self.seed, self.full)
            if batch is None and self.in_step:
                # A rank without a batch would keep the others waiting for ever.
                batch, _ = draw(self.samples, requests, self.seed, replace=True)
        # Given back and not raised: what a worker raises arrives wrapped in its traceback.
        except UserError as error:
            return error
        return batch, broken


def _heed_only_the_trainer(worker: int) -> None:
    """Ignore SIGTERM from elsewhere: a cluster sends it to all of a job, and the trainer finishes its step."""
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, args=(os.getppid(),), daemon=True).start()


def _end_when_told(trainer: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)


def _as_is(value: Any) -> Any:
    return value
