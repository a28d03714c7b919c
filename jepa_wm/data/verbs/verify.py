"""`jepa-wm shards verify`: find what is broken in a folder of shards."""

import hashlib
from pathlib import Path

from tqdm import tqdm

from jepa_wm.data.addresses import is_pipe
from jepa_wm.data.broken import BrokenSample
from jepa_wm.data.cache import Cache
from jepa_wm.data.episodes import LATENTS, decode, read_latents
from jepa_wm.data.folder import manifest_of
from jepa_wm.data.images import decode_image
from jepa_wm.data.shards import Shards
from jepa_wm.data.verbs.facts import kind_of
from jepa_wm.data.verbs.workers import each
from jepa_wm.data.video import EXTENSIONS as VIDEOS
from jepa_wm.data.video import Video
from jepa_wm.errors import UserError

AT_ONCE = 32
"""Frames of a video that are decoded at a time."""


def verify(folder: str, decode: bool = True, workers: int = 1, allow_pipe: bool = False) -> None:
    """Find what is broken in a folder of shards: missing or changed tars, samples that cannot be decoded.

    Args:
        folder: of shards, local or remote; or a pattern of tars without a manifest.
        decode: whether each sample is decoded; otherwise only lengths and checksums are compared.
        workers: processes.
        allow_pipe: whether `pipe:` addresses are run, as shell commands.

    Raises:
        UserError: if anything is wrong; what, is printed, a line each.
    """
    cache = Cache(allow_pipe=allow_pipe)
    splits = _open(folder, cache)
    tasks = [(shards, number, decode) for shards in splits for number in range(len(shards.addresses))]
    wrong: list[str] = []
    for found in tqdm(each(_check, tasks, workers), total=len(tasks), unit="shard", desc="verify", disable=None):
        wrong += found
    samples = sum(map(len, splits))
    for fault in sorted(wrong):
        print(fault)
    if wrong:
        raise UserError(f"{len(wrong)} faults in {samples} samples of {folder}")
    print(f"{folder}: {samples} samples in {len(tasks)} shards are {'whole' if decode else 'unchanged'}")


def _open(folder: str, cache: Cache) -> list[Shards]:
    if folder.endswith(".tar") or is_pipe(folder):
        return [Shards([folder], cache=cache)]
    manifest = manifest_of(folder, cache)
    return [Shards(folder, split, cache) for split in manifest["splits"]]


def _check(shards: Shards, shard: int, whole: bool) -> list[str]:
    """What is wrong with one shard, a line each."""
    address = shards.addresses[shard]
    try:
        path = shards.cache.path(address)
        faults = _compare(shards, shard, path)
        first = sum(shards.counts[:shard])
        for number in range(first, first + shards.counts[shard]):
            try:
                _decode(shards, number, whole)
            except BrokenSample as error:
                faults.append(f"{error.name}: {error.why}")
    except (UserError, OSError) as error:
        return [f"{address}: {error}"]
    return faults


def _compare(shards: Shards, shard: int, path: Path) -> list[str]:
    if shards.manifest is None:
        return []
    record = shards.manifest["splits"][shards.split]["shards"][shard]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != record.get("sha256"):
        return [f"{record['name']}: its checksum is not that of the manifest: its bytes have changed"]
    return []


def _decode(shards: Shards, number: int, whole: bool) -> None:
    members = shards.members(number)
    if not whole:
        return
    try:
        kind = kind_of(members)
        if kind == "images":
            decode_image(members)
        elif kind == "episodes":
            episode = decode(members, "", shards.form)
            if LATENTS in members:
                read_latents(members, len(episode.frames))
        elif kind == "videos":
            video = Video(next(members[extension] for extension in VIDEOS if extension in members))
            for start in range(0, video.frames, AT_ONCE):
                video.read(range(start, min(start + AT_ONCE, video.frames)))
        else:
            raise ValueError(f"it is neither an episode nor a video nor an image; its members are {sorted(members)}")
        for text in ("txt", "json"):
            members.get(text, b"").decode()
    # Hostile bytes make the decoders raise nearly anything.
    except Exception as error:
        raise shards.broken(number, error) from error
