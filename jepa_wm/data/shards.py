"""Read episodes from a folder of shards, in any order."""

import bisect
import itertools
import warnings
from pathlib import Path
from typing import Any

from jepa_wm.data.episodes import MEMBERS, BrokenSample, Episode, decode
from jepa_wm.data.index import Sample, load_index, read_members
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest


class EpisodeShards:
    """One split of a folder of shards: `len(shards)` episodes, `shards[i] -> Episode`.

    Shards are untrusted: nothing is unpickled, images are measured before they are decoded, and a
    broken sample raises `BrokenSample`. Samples without readable metadata are left out and warned of.

    Args:
        folder: a folder that `jepa-wm collect` has finished.
        split: "train", "val" or "test".

    Attributes:
        manifest: the folder's manifest.
        statistics: `action_mean`, `action_std`, `state_mean`, `state_std` of the training split.
        lengths: frames of each episode.
        broken: why each sample found broken so far is, by its shard and key.

    Raises:
        UserError: if the folder holds no finished shards or no such split, or a shard is missing.
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        self.folder, self.split = Path(folder), split
        self.manifest = read_manifest(folder, "collect")
        self.statistics: dict[str, Any] = self._field(self.manifest, "statistics", dict)
        self.broken: dict[str, str] = {}
        splits = self._field(self.manifest, "splits", dict)
        if split not in splits:
            raise UserError(f"{folder} has no split '{split}'; it has {sorted(splits)}")
        self._shards = [self._path(name) for name in self._field(splits[split], "shards", list)]
        self._samples = [self._readable(path) for path in self._shards]
        self._ends = list(itertools.accumulate(len(samples) for samples in self._samples))
        self.lengths = [sample.frames for samples in self._samples for sample in samples]
        if not self.lengths:
            raise UserError(f"split '{split}' of {folder} holds no readable episode; collect it again")
        found, episodes = len(self) + len(self.broken), self._field(splits[split], "episodes", int)
        if found != episodes:
            warnings.warn(f"split '{split}' of {folder} holds {found} of its {episodes} episodes", stacklevel=2)

    def _field(self, record: Any, name: str, kind: type) -> Any:
        value = record.get(name) if isinstance(record, dict) else None
        if not isinstance(value, kind):
            raise UserError(f"the manifest of {self.folder} has no {kind.__name__} '{name}'; collect it again")
        return value

    def _path(self, name: Any) -> Path:
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(f"the manifest of {self.folder} names {name!r}; expected a file of that folder")
        return self.folder / name

    def _readable(self, shard: Path) -> list[Sample]:
        samples = load_index(shard)
        for sample in samples:
            if not sample.frames:
                name = f"{shard.name}:{sample.key}"
                self.report(name, f"broken sample {name} of {self.folder}: its metadata cannot be read")
        return [sample for sample in samples if sample.frames]

    def report(self, name: str, why: str) -> None:
        """Count a broken sample, and warn of it the first time."""
        if name not in self.broken:
            self.broken[name] = why
            warnings.warn(f"skipped {why}", stacklevel=2)

    def __len__(self) -> int:
        return len(self.lengths)

    def name(self, index: int) -> str:
        """The shard and the key of an episode, for messages."""
        shard, sample = self._locate(index)
        return f"{shard.name}:{sample.key}"

    def _locate(self, index: int) -> tuple[Path, Sample]:
        if not 0 <= index < len(self):
            raise IndexError(f"episode {index} of {len(self)}")
        shard = bisect.bisect_right(self._ends, index)
        return self._shards[shard], self._samples[shard][index - self._ends[shard]]

    def __getitem__(self, index: int) -> Episode:
        """Decode one episode.

        Raises:
            BrokenSample: if it is not what `jepa_wm.data.episodes` writes, or not of the folder's shapes.
        """
        shard, sample = self._locate(index)
        try:
            if missing := set(MEMBERS) - set(sample.members):
                raise ValueError(f"it lacks {sorted(missing)}")
            episode = decode(read_members(shard, sample), sample.key)
            self._check(episode, sample.frames)
        # Hostile bytes make the parsers raise nearly anything; none of it may end a training run.
        except Exception as error:
            raise BrokenSample(f"broken sample {shard.name}:{sample.key} of {self.folder}: {error}") from error
        return episode

    def _check(self, episode: Episode, frames: int) -> None:
        got = (frames_shape := episode.frames.shape, episode.actions.shape[1], episode.state.shape[1])
        expected = (
            (frames, *self.manifest["frame_shape"]),
            len(self.statistics["action_mean"]),
            len(self.statistics["state_mean"]),
        )
        if got != expected:
            raise ValueError(f"frames {frames_shape}, action and state widths {got[1:]}; expected {expected}")
