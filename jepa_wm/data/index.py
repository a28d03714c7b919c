"""Where each sample lies in a shard, so that any of them can be read without the others."""

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jepa_wm.data.tar import Member, members
from jepa_wm.data.video import EXTENSIONS as VIDEOS
from jepa_wm.data.video import Video
from jepa_wm.files import atomic_path

FORMAT = 2
SUFFIX = ".index.npz"
ARRAYS = ("keys", "offsets", "sizes", "frames")
LARGEST_JSON = 2**24


class Index(NamedTuple):
    """The n samples of a shard; as arrays, since a million of them must fit in memory.

    Attributes:
        keys: their names (n,).
        extensions: those that occur, E of them.
        offsets: where each member begins, in bytes: int64 (n, E), -1 where a sample has no such member.
        sizes: of each member, in bytes: int64 (n, E).
        frames: of each sample: int32 (n,); 1 for an image, 0 where the metadata cannot be read.
        problems: why a sample cannot be used, by its number.
    """

    keys: np.ndarray
    extensions: tuple[str, ...]
    offsets: np.ndarray
    sizes: np.ndarray
    frames: np.ndarray
    problems: dict[int, str]

    def spans(self, number: int) -> dict[str, tuple[int, int]]:
        """Offset and size of each of a sample's members, by extension."""
        offsets, sizes = self.offsets[number].tolist(), self.sizes[number].tolist()
        columns = zip(self.extensions, offsets, sizes, strict=True)
        return {extension: (offset, size) for extension, offset, size in columns if offset >= 0}

    def most_whole(self, count: int) -> "Index":
        """The same with `count` samples at most: those without a problem, with the most members, and the first.

        A header's checksum is a sum of bytes. One that damage left valid names a sample that never was, and may cut
        another into pieces; what is too much are these pieces, and not the samples at the end.
        """
        if len(self.keys) <= count:
            return self
        members = (self.offsets >= 0).sum(axis=1).tolist()
        ranked = sorted(range(len(members)), key=lambda number: (number in self.problems, -members[number], number))
        kept = sorted(ranked[:count])
        problems = {new: self.problems[old] for new, old in enumerate(kept) if old in self.problems}
        rows = (self.offsets[kept], self.sizes[kept], self.frames[kept])
        return Index(self.keys[kept], self.extensions, *rows, problems)


def load_index(shard: Path, beside: Path | None = None) -> Index:
    """The index of a shard: from `<shard>.index.npz` if that is up to date, else from the tar.

    A new index is left beside the shard where that is permitted.

    Args:
        shard: a local tar.
        beside: an index that came with the shard from elsewhere, tried before the tar is scanned.

    Raises:
        FileNotFoundError: if the shard is missing.
    """
    stat = shard.stat()
    version = {"format": FORMAT, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    path = shard.with_name(shard.name + SUFFIX)
    index = _read(path, version)
    if index is None:
        # Copies keep the size of a shard, and not always its time.
        index = _read(beside, {"format": FORMAT, "size": stat.st_size}) if beside else None
        index = index or scan(shard)
        # A shard folder may be read-only; the index is then made again next time.
        with suppress(OSError):
            write_index(path, index, version)
    return index


def scan(shard: Path) -> Index:
    """The index of a shard, from its tar headers."""
    groups: list[tuple[str, dict[str, Member]]] = []
    problems: dict[int, str] = {}
    seen: set[str] = set()
    for member in members(shard):
        if not groups or groups[-1][0] != member.key or member.extension in groups[-1][1]:
            if member.key in seen:
                problems[len(groups)] = f"duplicate key '{member.key}'"
            groups.append((member.key, {}))
            seen.add(member.key)
        groups[-1][1][member.extension] = member
        if member.problem:
            problems.setdefault(len(groups) - 1, f"its member '{member.extension}': {member.problem}")
    extensions = tuple(sorted({extension for _, group in groups for extension in group}))
    offsets = np.full((len(groups), len(extensions)), -1, np.int64)
    sizes = np.zeros_like(offsets)
    for row, (_, group) in enumerate(groups):
        for extension, member in group.items():
            column = extensions.index(extension)
            offsets[row, column], sizes[row, column] = member.offset, member.size
    frames = np.fromiter(_frames(shard, [group for _, group in groups]), np.int32, len(groups))
    return Index(np.array([key for key, _ in groups], str), extensions, offsets, sizes, frames, problems)


def write_index(path: Path, index: Index, version: dict[str, int]) -> None:
    """Write an index atomically, with what tells whether it is up to date."""
    about = {**version, "extensions": index.extensions, "problems": index.problems}
    arrays = {name: getattr(index, name) for name in ARRAYS}
    with atomic_path(path) as aside, open(aside, "wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)


def _read(path: Path, version: dict[str, int]) -> Index | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                return None
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            if any(about[key] != value for key, value in version.items()):
                return None
            problems = {int(number): str(why) for number, why in about["problems"].items()}
            arrays = {name: stored[name] for name in ARRAYS}
        index = Index(extensions=tuple(map(str, about["extensions"])), problems=problems, **arrays)
    # An index can always be made again, so whatever is wrong with this one, it is not used.
    except Exception:
        return None
    return index if _fits(index, version["size"]) else None


def _fits(index: Index, end: int) -> bool:
    shape = (len(index.keys), len(index.extensions))
    return (
        index.offsets.shape == index.sizes.shape == shape
        and index.frames.shape == shape[:1]
        and index.keys.dtype.kind == "U"
        and all(array.dtype.kind == "i" for array in (index.offsets, index.sizes, index.frames))
        and bool(((index.offsets >= -1) & (index.offsets <= end)).all())
        and bool(((index.sizes >= 0) & (index.sizes <= end - index.offsets.clip(0))).all())
    )


def _frames(shard: Path, groups: list[dict[str, Member]]) -> Iterator[int]:
    with open(shard, "rb", buffering=0) as file:
        for group in groups:
            video = next((group[extension] for extension in VIDEOS if extension in group), None)
            if video or any(extension.startswith("frames.") for extension in group):
                yield _declared(file.fileno(), group.get("json")) or _counted(file.fileno(), video)
            else:
                yield 1


def _declared(file: int, meta: Member | None) -> int:
    """The frames that a sample's metadata say it has; 0 if they do not."""
    if meta is None or meta.size > LARGEST_JSON:
        return 0
    try:
        record: Any = json.loads(os.pread(file, meta.size, meta.offset))
        return min(max(0, int(record["frames"])), np.iinfo(np.int32).max)
    # Whatever hostile metadata makes of the parser, the sample is one that cannot be used.
    except Exception:
        return 0


def _counted(file: int, video: Member | None) -> int:
    """The frames that a video has; 0 if there is none that can be read."""
    if video is None:
        return 0
    try:
        return Video(os.pread(file, video.size, video.offset)).frames
    # Hostile videos make FFmpeg raise nearly anything.
    except Exception:
        return 0
