"""Batches of clips, in an order that is a function of seed and epoch alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from jepa_wm import distributed
from jepa_wm.contracts import Batch
from jepa_wm.data.clips import Clips
from jepa_wm.data.shards import EpisodeShards
from jepa_wm.errors import UserError


def epoch_groups(
    episodes: int, size: int, seed: int, epoch: int, shuffle: bool, rank: int = 0, world: int = 1
) -> list[list[int]]:
    """Which episodes make each batch of a rank's epoch: groups of `size` numbers below `episodes`.

    Rank r of W takes groups r, r + W, …, so the ranks together see what one process would. A last
    group that is not full is dropped when shuffling, unless it is the only one; groups that not every
    rank can have are dropped always.
    """
    order = np.random.default_rng([seed, epoch]).permutation(episodes) if shuffle else np.arange(episodes)
    groups = [order[start : start + size].tolist() for start in range(0, episodes, size)]
    if shuffle and len(groups) > 1 and len(groups[-1]) < size:
        groups.pop()
    return groups[: len(groups) // world * world][rank::world]


class ClipLoader:
    """An iterable of batches (see `contracts.Batch`), one epoch at a time; its state can be saved.

    A batch holds `clips_per_episode` clips from random places of each of a few episodes, which are
    decoded once. Every `iter()` begins the next epoch, and the first one after `load_state_dict`
    goes on with the very next batch. With shuffle off every epoch is the same.
    Beside the contract's fields a batch has `index`, int64 (B, 2): the episode and the first frame.
    A broken episode is warned of, counted in `shards.broken`, and replaced by its next neighbour.

    Args:
        folder: a folder that `jepa-wm collect` has finished.
        split: "train", "val" or "test".
        frames: frames T of a clip.
        frame_skip: environment steps between two of its frames; their actions are concatenated.
        batch_size: clips B of a batch, on each rank: a multiple of `clips_per_episode`.
        clips_per_episode: clips cut from one decoded episode.
        seed: seeds the order and the cuts.
        workers: processes that decode; 0 decodes in this one.
        shuffle: whether the episodes' order and the cuts change from epoch to epoch.

    Raises:
        UserError: if the shards are no good (see `EpisodeShards`), an argument is out of range, or
            no episode is long enough for a clip.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        frames: int,
        frame_skip: int,
        batch_size: int,
        clips_per_episode: int = 4,
        seed: int = 0,
        workers: int = 0,
        shuffle: bool = True,
    ) -> None:
        if min(frames, frame_skip, batch_size, clips_per_episode) < 1:
            raise UserError(
                f"frames is {frames}, frame_skip {frame_skip}, batch_size {batch_size}, "
                f"clips_per_episode {clips_per_episode}; expected at least 1 each"
            )
        if seed < 0:
            raise UserError(f"seed is {seed}; expected at least 0")
        if batch_size % clips_per_episode:
            raise UserError(f"batch_size {batch_size} is not a multiple of clips_per_episode {clips_per_episode}")
        self.seed, self.workers, self.shuffle = seed, workers, shuffle
        self.shards = EpisodeShards(folder, split)
        self._group = batch_size // clips_per_episode
        self._clips = Clips(self.shards, frames, frame_skip, clips_per_episode, seed)
        self.epoch = self.batch = 0
        self._resumed = False

    def _groups(self) -> list[list[int]]:
        # Validation looks at the same clips in every epoch, or its curve would show the cuts.
        epoch = self.epoch if self.shuffle else 0
        rank, world = distributed.rank(), distributed.world_size()
        groups = epoch_groups(len(self._clips.usable), self._group, self.seed, epoch, self.shuffle, rank, world)
        if not groups:
            raise UserError(
                f"split '{self.shards.split}' of {self.shards.folder} has {len(self._clips.usable)} usable episodes, "
                f"{self._group} a batch: too few for {world} ranks; collect more or use smaller batches"
            )
        return groups

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        return len(self._groups())

    def __iter__(self) -> Iterator[Batch]:
        """Hand out the batches of one epoch."""
        if self.batch and (not self._resumed or self.batch >= len(self)):
            self.epoch, self.batch = self.epoch + 1, 0
        self._resumed = False
        epoch = self.epoch if self.shuffle else 0
        requests = [(epoch, group) for group in self._groups()[self.batch :]]
        loader: DataLoader[Any] = DataLoader(
            self._clips,
            batch_size=None,
            sampler=requests,
            num_workers=self.workers,
            collate_fn=_as_is,
            # Without one of its own, DataLoader draws from the global generator, and a resumed run differs.
            generator=torch.Generator(),
        )
        for batch, broken in loader:
            for name, why in broken.items():
                self.shards.report(name, why)
            self.batch += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch and how many of its batches have been handed out."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken; batches handed out before are not decoded again."""
        self.epoch, self.batch = state["epoch"], state["batch"]
        self._resumed = True


def _as_is(value: Any) -> Any:
    return value
