"""The manifest of a folder of shards, wherever it lies, and what it may say: manifests come with the shards."""

from pathlib import Path
from typing import Any

from jepa_wm.data.addresses import is_remote, join, local_path
from jepa_wm.data.cache import Cache
from jepa_wm.errors import UserError
from jepa_wm.manifest import NAME, check_manifest, read_manifest

STAGES = ("collect", "pack", "index", "split", "merge", "encode")
"""Stages whose run folder holds shards."""


def manifest_of(folder: str, cache: Cache) -> dict[str, Any]:
    """The manifest of a folder of shards, local or remote.

    Raises:
        UserError: if there is none, or it is that of something else.
    """
    if not is_remote(folder):
        return read_manifest(local_path(folder), *STAGES)
    return check_manifest(cache.json(join(folder, NAME)), folder, *STAGES)


def records_of(manifest: dict[str, Any], split: str, folder: str) -> list[dict[str, Any]]:
    """What the manifest says of each shard of a split.

    Raises:
        UserError: if there is no such split, or what it says makes no sense or names files elsewhere.
    """
    splits = manifest.get("splits")
    if not isinstance(splits, dict) or not splits:
        raise UserError(f"the manifest of {folder} has no splits; make the shards again")
    if split not in splits:
        raise UserError(f"{folder} has no split '{split}'; it has {sorted(splits)}")
    records = splits[split].get("shards") if isinstance(splits[split], dict) else None
    if not isinstance(records, list) or not all(map(_is_record, records)):
        raise UserError(
            f"the manifest of {folder} does not say which shards split '{split}' has: expected a list of file names "
            "of that folder with their samples; make the shards again"
        )
    return records


def _is_record(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and isinstance(name := record.get("name"), str)
        and Path(name).name == name
        and name.endswith(".tar")
        and isinstance(samples := record.get("samples"), int)
        and 0 <= samples < 2**31
    )
