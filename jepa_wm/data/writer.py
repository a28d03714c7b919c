"""Write samples to webdataset tars."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from webdataset import TarWriter

from jepa_wm.data.episodes import Episode, encode
from jepa_wm.data.index import load_index
from jepa_wm.data.moments import Moments, to_statistics
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path


def write_shard(path: str | Path, samples: Iterable[tuple[str, dict[str, bytes]]]) -> dict[str, Any]:
    """Write one tar and its index; it appears under its name only when it is whole.

    The bytes are a function of the samples alone.

    Args:
        path: of the tar.
        samples: key and contents of the members, by extension.

    Returns:
        What the manifest says of it: `name`, `samples`, `frames`, `bytes` and `sha256`.

    Raises:
        UserError: if a key or an extension is not allowed, or a key is not new.
    """
    with _open_tar(Path(path)) as tar:
        keys: set[str] = set()
        for key, members in samples:
            _check(key, members, keys)
            tar.write({"__key__": key, **members})
    return describe(Path(path))


def describe(path: Path) -> dict[str, Any]:
    """What the manifest says of a shard: `name`, `samples`, `frames`, `bytes` and `sha256`."""
    index = load_index(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    frames = int(index.frames.sum())
    size = path.stat().st_size
    return {"name": path.name, "samples": len(index.keys), "frames": frames, "bytes": size, "sha256": digest}


class ShardWriter:
    """Write the episodes of one split as `<split>-000000.tar`, …, as they come.

    As a context manager it finishes the last shard, or removes it if an exception passes.

    Args:
        folder: where the shards go; made if missing.
        split: "train", "val" or "test".
        samples_per_shard: episodes in each shard but the last.
        codec: how frames are stored: a module of `jepa_wm.data.codecs`.
        quality: of a codec that loses some; None for the codec's own.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        samples_per_shard: int = 256,
        codec: str = "mjpeg",
        quality: int | None = None,
    ) -> None:
        if samples_per_shard < 1:
            raise UserError(f"samples_per_shard is {samples_per_shard}; expected at least 1")
        self.folder, self.split, self.samples_per_shard = Path(folder), split, samples_per_shard
        self.codec, self.quality = codec, quality
        self.samples = 0
        self._paths: list[Path] = []
        self._keys: set[str] = set()
        self._open = ExitStack()
        self._moments = {"action": Moments(), "state": Moments()}

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, episode: Episode) -> None:
        """Append an episode; its id must be new to the split."""
        self.write_encoded(episode, self.encode(episode))

    def encode(self, episode: Episode) -> dict[str, bytes]:
        """The members of an episode, as this writer stores them; any thread may ask."""
        return encode(episode, self.codec, self.quality)

    def write_encoded(self, episode: Episode, members: dict[str, bytes]) -> None:
        """Append an episode whose members `encode` has made already."""
        _check(episode.id, members, self._keys)
        if self.samples % self.samples_per_shard == 0:
            self._next_shard()
        self._tar.write({"__key__": episode.id, **members})
        self._moments["action"] = self._moments["action"].merge(Moments.of(episode.actions))
        self._moments["state"] = self._moments["state"].merge(Moments.of(episode.state))
        self.samples += 1

    def _next_shard(self) -> None:
        self._open.close()
        self._paths.append(self.folder / f"{self.split}-{len(self._paths):06d}.tar")
        with ExitStack() as stack:
            self._tar = stack.enter_context(_open_tar(self._paths[-1]))
            self._open = stack.pop_all()

    def summary(self) -> dict[str, Any]:
        """What the manifest says of the split, once it is finished: its shards, samples and frames."""
        return summarise([describe(path) for path in self._paths])

    def statistics(self) -> dict[str, Any]:
        """Rows, mean and standard deviation of `action` (lists of A) and `state` (lists of P) so far."""
        return to_statistics(self._moments)


def summarise(shards: list[dict[str, Any]]) -> dict[str, Any]:
    """What the manifest says of a split that consists of `shards`."""
    return {"shards": shards, **{count: sum(shard[count] for shard in shards) for count in ("samples", "frames")}}


@contextmanager
def _open_tar(path: Path) -> Iterator[TarWriter]:
    # A fixed time stamp: the same samples give the same bytes.
    with atomic_path(path) as aside, open(aside, "wb") as file, TarWriter(file, encoder=False, mtime=0) as tar:
        yield tar


def _check(key: str, members: dict[str, bytes], keys: set[str]) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key):
        raise UserError(f"key '{key}' is not 1 to 80 letters, digits, '-' and '_'")
    if wrong := [extension for extension in members if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", extension)]:
        raise UserError(f"sample '{key}' has members {wrong}; expected lower-case letters, digits, '_' and '.'")
    if key in keys:
        raise UserError(f"key '{key}' is used twice; each sample of a split needs its own")
    keys.add(key)
