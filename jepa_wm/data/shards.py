"""Read samples from shards, in any order, from wherever they lie."""

import bisect
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jepa_wm.data.addresses import expand, is_pipe, is_remote, join
from jepa_wm.data.broken import BrokenSample
from jepa_wm.data.cache import Cache
from jepa_wm.data.episodes import Form
from jepa_wm.data.folder import manifest_of, records_of
from jepa_wm.data.index import SUFFIX, Index, load_index
from jepa_wm.errors import UserError

OPEN_FILES = 64
T = TypeVar("T")


class Shards:
    """The samples of one split, by number.

    Shards are untrusted: nothing is unpickled, nothing is run, and a sample that is broken raises
    `BrokenSample`, whatever is wrong with it.

    Args:
        source: a folder of shards, local or remote, with a manifest; or addresses of tars, in which
            `{000..147}` is expanded. Tars without a manifest must be local, or be indexed on first use.
        split: "train", "val" or "test"; of a folder with a manifest only.
        cache: where remote shards are kept.

    Attributes:
        manifest: the folder's manifest, or None.
        addresses: of the shards.
        counts: samples in each shard.

    Raises:
        UserError: if there are no such shards, or the folder has no such split.
    """

    def __init__(self, source: str | Path | Sequence[str], split: str = "train", cache: Cache | None = None) -> None:
        self.source, self.split, self.cache = source, split, cache or Cache()
        self.counts: list[int] = []
        self._indices: dict[int, Index] = {}
        self._files: dict[int, int] = {}
        self.manifest: dict[str, Any] | None = None
        if isinstance(source, str | Path) and not str(source).endswith(".tar") and not is_pipe(str(source)):
            self.manifest = manifest_of(str(source), self.cache)
            records = records_of(self.manifest, split, str(source))
            self.addresses = [join(str(source), record["name"]) for record in records]
            self.counts = [record["samples"] for record in records]
        else:
            self.addresses = expand([str(source)] if isinstance(source, str | Path) else list(source))
            self.counts = [len(self.index(shard).keys) for shard in range(len(self.addresses))]
        if not sum(self.counts):
            raise UserError(f"{self} holds no samples; make the shards again")
        self._ends = list(accumulate(self.counts))

    def __str__(self) -> str:
        return f"split '{self.split}' of {self.source}" if self.manifest else f"{self.source}"

    @property
    def statistics(self) -> dict[str, Any]:
        """`action_mean`, `action_std`, `state_mean`, `state_std` of the training split.

        Raises:
            UserError: if the shards have no manifest, or it has no statistics.
        """
        statistics = (self.manifest or {}).get("statistics")
        if not isinstance(statistics, dict):
            raise UserError(
                f"{self} has no statistics of actions and states; `jepa-wm shards index` makes a manifest with them"
            )
        return statistics

    @property
    def form(self) -> Form:
        """What the manifest says that all episodes have in common."""
        manifest = self.manifest or {}
        _, height, width = manifest.get("frame_shape") or (3, None, None)
        statistics = manifest.get("statistics") or {}
        actions, state = (
            len(mean) if (mean := statistics.get(f"{name}_mean")) else None for name in ("action", "state")
        )
        return Form(height, width, actions, state)

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def is_remote(self) -> bool:
        """Whether any shard must be fetched."""
        return any(map(is_remote, self.addresses))

    def prefetch(self, shards: Iterable[int]) -> None:
        """Begin to fetch shards that are remote."""
        self.cache.prefetch([self.addresses[shard] for shard in shards])

    def locate(self, number: int) -> tuple[int, int]:
        """The shard that holds a sample, and the sample's place in it."""
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        shard = bisect.bisect_right(self._ends, number)
        return shard, number - self._ends[shard] + self.counts[shard]

    def name(self, number: int) -> str:
        """The shard and the key of a sample, for messages."""
        shard, place = self.locate(number)
        index = self._indices.get(shard)
        key = index.keys[place] if index and place < len(index.keys) else f"sample {place}"
        return f"{Path(self.addresses[shard]).name}:{key}"

    def index(self, shard: int) -> Index:
        """Where the samples of a shard lie."""
        if shard not in self._indices:
            found: Index = self._retried(shard, lambda path: load_index(path, self._index_beside(shard)))
            # Without a manifest there is nothing that says how many there should be.
            self._indices[shard] = found.most_whole(self.counts[shard]) if self.counts else found
        return self._indices[shard]

    def _index_beside(self, shard: int) -> Path | None:
        with suppress(UserError):
            address = self.addresses[shard]
            return self.cache.path(address + SUFFIX) if is_remote(address) else None
        return None

    def lengths(self) -> np.ndarray:
        """Frames of each sample (len(self),), 0 where its metadata cannot be read; reads every index."""
        lengths = [np.zeros(count, np.int32) for count in self.counts]
        for shard, row in enumerate(lengths):
            frames = self.index(shard).frames[: len(row)]
            row[: len(frames)] = frames
        return np.concatenate(lengths)

    def sample_keys(self) -> list[str]:
        """The key of each sample, "lost" where a shard was cut short; reads every index."""
        found = []
        for shard, count in enumerate(self.counts):
            keys = self.index(shard).keys.tolist()[:count]
            found += keys + ["lost"] * (count - len(keys))
        return found

    def members(self, number: int, *extensions: str) -> dict[str, bytes]:
        """The contents of a sample's members, by extension: those named, or all.

        Raises:
            BrokenSample: if the sample is known to be broken, or lacks one of `extensions`.
        """
        shard, place = self.locate(number)
        index = self.index(shard)
        try:
            if place >= len(index.keys):
                raise ValueError(f"only {len(index.keys)} of the shard's {self.counts[shard]} samples can be found")
            if place in index.problems:
                raise ValueError(index.problems[place])
            return self._read(shard, index.spans(place), extensions)
        except ValueError as error:
            raise self.broken(number, error) from error

    def parsed(self, number: int, parse: Callable[[dict[str, bytes]], T], *wanted: str) -> T:
        """What `parse` makes of the contents of a sample's members, by extension: those `wanted`, or all.

        Raises:
            BrokenSample: if the sample lacks one of them, or `parse` fails.
        """
        members = self.members(number, *wanted)
        try:
            return parse(members)
        # Hostile bytes make the parsers raise nearly anything; none of it may end a run.
        except Exception as error:
            raise self.broken(number, error) from error

    def broken(self, number: int, error: Exception) -> BrokenSample:
        """The error that says of a sample that it is broken, and why."""
        return BrokenSample(self.name(number), str(error) or type(error).__name__)

    def _read(self, shard: int, spans: dict[str, tuple[int, int]], wanted: Sequence[str]) -> dict[str, bytes]:
        if missing := [extension for extension in wanted if extension not in spans]:
            raise ValueError(f"it lacks {missing}; it has {list(spans)}")
        file = self._file(shard)
        found = {name: os.pread(file, size, at) for name, (at, size) in spans.items() if not wanted or name in wanted}
        if short := [extension for extension, data in found.items() if len(data) < spans[extension][1]]:
            raise ValueError(f"its members {short} are cut short: the shard ends before they do")
        return found

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            if len(self._files) >= OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            self._files[shard] = self._retried(shard, lambda path: os.open(path, os.O_RDONLY))
        return self._files[shard]

    def _retried(self, shard: int, use: Any) -> Any:
        # Another process may evict a shard from the cache between being named and being opened.
        for _ in range(3):
            with suppress(FileNotFoundError):
                return use(self.cache.path(self.addresses[shard]))
        why = "is evicted from the cache as soon as it is there; enlarge the cache"
        raise UserError(f"shard {self.addresses[shard]} {why if is_remote(self.addresses[shard]) else 'is missing'}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    def __del__(self) -> None:
        for file in self.__dict__.get("_files", {}).values():
            os.close(file)
