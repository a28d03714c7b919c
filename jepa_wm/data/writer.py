"""Write episodes to webdataset tars."""

import re
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from webdataset import TarWriter

from jepa_wm.data.episodes import Episode, encode
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path


class ShardWriter:
    """Write one split as `<split>-000000.tar`, …; a tar appears under its name only when it is whole.

    The bytes are a function of the episodes alone. As a context manager it finishes the last shard,
    or removes it if an exception passes.

    Args:
        folder: where the shards go; made if missing.
        split: "train", "val" or "test".
        episodes_per_shard: episodes in each shard but the last.

    Attributes:
        shards: names of the shards begun so far.
        episodes: episodes written.
        frames: frames written.
    """

    def __init__(self, folder: str | Path, split: str, episodes_per_shard: int = 256) -> None:
        if episodes_per_shard < 1:
            raise UserError(f"episodes_per_shard is {episodes_per_shard}; expected at least 1")
        self.folder, self.split, self.episodes_per_shard = Path(folder), split, episodes_per_shard
        self.shards: list[str] = []
        self.episodes = self.frames = 0
        self._open = ExitStack()
        self._moments = {"action": _Moments(), "state": _Moments()}

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, episode: Episode) -> None:
        """Append an episode; its id must be new to the split."""
        self.write_encoded(episode, encode(episode))

    def write_encoded(self, episode: Episode, members: dict[str, bytes]) -> None:
        """Append an episode whose members `encode` has made already, in another thread perhaps."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", episode.id):
            raise UserError(f"episode id '{episode.id}' is not 1 to 80 letters, digits, '-' and '_'")
        if self.episodes % self.episodes_per_shard == 0:
            self._next_shard()
        self._tar.write({"__key__": episode.id, **members})
        self._moments["action"].add(episode.actions)
        self._moments["state"].add(episode.state)
        self.episodes += 1
        self.frames += len(episode.frames)

    def _next_shard(self) -> None:
        self._open.close()
        self.shards.append(f"{self.split}-{len(self.shards):06d}.tar")
        with ExitStack() as stack:
            file = stack.enter_context(open(stack.enter_context(atomic_path(self.folder / self.shards[-1])), "wb"))
            # A fixed time stamp: the same episodes give the same bytes.
            self._tar = stack.enter_context(TarWriter(file, encoder=False, mtime=0))
            self._open = stack.pop_all()

    def summary(self) -> dict[str, Any]:
        """What the manifest says of the split: its shards and how many episodes and frames they hold."""
        return {"shards": self.shards, "episodes": self.episodes, "frames": self.frames}

    def statistics(self) -> dict[str, list[float]]:
        """`action_mean`, `action_std` (lists of A), `state_mean` and `state_std` (lists of P) so far."""
        return {
            f"{name}_{moment}": value.tolist()
            for name, moments in self._moments.items()
            for moment, value in (("mean", moments.mean()), ("std", moments.std()))
        }


class _Moments:
    """Mean and standard deviation of rows, in float64, one episode at a time."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Any = 0.0
        self.squares: Any = 0.0

    def add(self, rows: np.ndarray) -> None:
        rows = rows.astype(np.float64)
        self.count += len(rows)
        self.sum = self.sum + rows.sum(axis=0)
        self.squares = self.squares + np.square(rows).sum(axis=0)

    def mean(self) -> np.ndarray:
        return np.asarray(self.sum / max(self.count, 1))

    def std(self) -> np.ndarray:
        variance = self.squares / max(self.count, 1) - np.square(self.mean())
        return np.sqrt(np.maximum(variance, 0.0))
