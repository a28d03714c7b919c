"""Where each sample lies in a shard, so that any of them can be read without the others."""

import json
import tarfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from jepa_wm.errors import UserError
from jepa_wm.files import write_json

FORMAT = 1


class Sample(NamedTuple):
    """A sample of a shard.

    Attributes:
        key: its name in the shard.
        frames: how many frames it has; 0 if its metadata cannot be read.
        members: offset and size in bytes of each member, by extension.
    """

    key: str
    frames: int
    members: dict[str, tuple[int, int]]


def load_index(shard: Path) -> list[Sample]:
    """The samples of a shard, from `<shard>.index.json` if that is up to date, else from the tar.

    A new index is left beside the shard where that is permitted.

    Raises:
        UserError: if the shard is missing.
    """
    if not shard.is_file():
        raise UserError(f"shard {shard} is missing, though the manifest names it; copy it there or collect again")
    stat = shard.stat()
    version = {"format": FORMAT, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    path = shard.with_name(shard.name + ".index.json")
    samples = _read(path, version)
    if samples is None:
        samples = _scan(shard)
        # A shard folder may be read-only; the index is then made again next time.
        with suppress(OSError):
            write_json(path, {**version, "samples": samples})
    return samples


def read_members(shard: Path, sample: Sample) -> dict[str, bytes]:
    """The contents of a sample's members, by extension."""
    members = {}
    with open(shard, "rb") as file:
        for name, (offset, size) in sample.members.items():
            file.seek(offset)
            members[name] = file.read(size)
    return members


def _read(path: Path, version: dict[str, int]) -> list[Sample] | None:
    try:
        index = json.loads(path.read_text())
        if any(index[key] != value for key, value in version.items()):
            return None
        return [Sample(str(key), int(frames), _spans(members)) for key, frames, members in index["samples"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _spans(members: dict[str, list[int]]) -> dict[str, tuple[int, int]]:
    return {name: (int(offset), int(size)) for name, (offset, size) in members.items()}


def _scan(shard: Path) -> list[Sample]:
    found: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                if member.isfile():
                    found.setdefault(key, {})[extension] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError) as error:
        warnings.warn(f"shard {shard} is damaged ({error}); {len(found)} samples could be found", stacklevel=2)
    return [Sample(key, _frames(shard, Sample(key, 0, members)), members) for key, members in found.items()]


def _frames(shard: Path, sample: Sample) -> int:
    try:
        return max(0, int(json.loads(read_members(shard, sample)["json"])["frames"]))
    # Whatever hostile metadata makes of the parser, the sample is one that cannot be used.
    except Exception:
        return 0
