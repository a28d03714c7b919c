"""Cut clips from episodes, several from each that is decoded."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from jepa_wm.contracts import Batch
from jepa_wm.data.episodes import BrokenSample, Episode
from jepa_wm.data.shards import EpisodeShards
from jepa_wm.errors import UserError


class Clips(Dataset[Any]):
    """`clips[epoch, numbers]` -> the batch cut from the usable episodes so numbered, and the broken ones met.

    Args:
        shards: the episodes.
        frames: frames T of a clip.
        frame_skip: environment steps between two of its frames.
        clips: clips cut from one episode: a function of seed, epoch and episode.
        seed: seeds the cuts.

    Attributes:
        usable: indices of the episodes that are long enough.

    Raises:
        UserError: if no episode is.
    """

    def __init__(self, shards: EpisodeShards, frames: int, frame_skip: int, clips: int, seed: int) -> None:
        self.shards, self.frames, self.frame_skip, self.clips, self.seed = shards, frames, frame_skip, clips, seed
        self.span = (frames - 1) * frame_skip
        self.usable = [index for index, length in enumerate(shards.lengths) if length > self.span]
        where = f"split '{shards.split}' of {shards.folder}"
        if not self.usable:
            raise UserError(
                f"no episode of {where} has the {self.span + 1} frames that {frames} frames "
                f"{frame_skip} steps apart need; the longest has {max(shards.lengths)}"
            )
        if short := len(shards) - len(self.usable):
            warnings.warn(f"{short} of {len(shards)} episodes of {where} are too short and left out", stacklevel=3)

    def __getitem__(self, request: tuple[int, Sequence[int]]) -> tuple[Batch, dict[str, str]]:
        epoch, numbers = request
        broken: dict[str, str] = {}
        cuts = [cut for number in numbers for cut in self._cut(epoch, number, broken)]
        columns = {name: [cut[name] for cut in cuts] for name in cuts[0]}
        batch = {
            name: column if name == "captions" else torch.from_numpy(np.stack(column))
            for name, column in columns.items()
        }
        return batch, broken

    def _cut(self, epoch: int, number: int, broken: dict[str, str]) -> list[dict[str, Any]]:
        index, episode = self._decode(number, broken)
        starts = len(episode.frames) - self.span
        random = np.random.default_rng([self.seed, epoch, index])
        return [
            self._clip(episode, index, int(start))
            for start in random.choice(starts, self.clips, replace=starts < self.clips)
        ]

    def _decode(self, number: int, broken: dict[str, str]) -> tuple[int, Episode]:
        # A stand-in keeps the batch's shape, and the ranks in step.
        for step in range(len(self.usable)):
            index = self.usable[(number + step) % len(self.usable)]
            try:
                return index, self.shards[index]
            except BrokenSample as error:
                broken[self.shards.name(index)] = str(error)
        raise UserError(f"every episode of split '{self.shards.split}' of {self.shards.folder} is broken")

    def _clip(self, episode: Episode, index: int, start: int) -> dict[str, Any]:
        at = slice(start, start + self.span + 1, self.frame_skip)
        actions = episode.actions[start : start + self.span]
        return {
            "pixels": np.ascontiguousarray(episode.frames[at]),
            "actions": actions.reshape(self.frames - 1, self.frame_skip * actions.shape[1]),
            "state": episode.state[at],
            "captions": episode.captions[at],
            "index": np.array([index, start]),
        }
