"""`jepa-wm shards merge`: several folders of shards into one."""

from typing import Any

from jepa_wm.data.folder import STAGES
from jepa_wm.data.randomness import generator
from jepa_wm.data.verbs.pack import PER_SHARD
from jepa_wm.data.verbs.packing import Making, Storage, plan, write_folder
from jepa_wm.data.verbs.stored import StoredSamples
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest


def merge(
    folders: list[str],
    out: str,
    samples_per_shard: int | None = None,
    max_skipped: float = 0.01,
    workers: int = 1,
    seed: int = 0,
) -> None:
    """Put the samples of several folders of shards into one, split by split, and mix them.

    Nothing is decoded or encoded. Keys begin with the number of their folder, so that they stay unique. Goes
    on where it was interrupted, as `pack` does.

    Args:
        folders: of shards, of one kind.
        out: folder for the new shards.
        samples_per_shard: samples in each shard but the last; by default as `pack`.
        max_skipped: share of the samples that may be left out because they cannot be read.
        workers: processes.
        seed: seeds the mixing.

    Raises:
        UserError: if the folders do not fit each other, or one of them or `out` is no good.
    """
    if len(folders) < 2:
        raise UserError(f"folders is {folders}; expected at least two to merge")
    manifests = [read_manifest(folder, *STAGES) for folder in folders]
    names = list(dict.fromkeys(name for manifest in manifests for name in manifest["splits"]))
    parts = [
        (number, name)
        for name in names
        for number, manifest in enumerate(manifests)
        if manifest["splits"].get(name, {}).get("samples")
    ]
    source = StoredSamples([(folders[number], name) for number, name in parts], [f"{number}-" for number, _ in parts])
    splits = {
        name: [sample for part, (_, own) in enumerate(parts) if own == name for sample in source.range_of(part)]
        for name in names
    }
    mixed = {name: generator("merge", seed).permutation(numbers).tolist() for name, numbers in splits.items()}
    config: dict[str, Any] = {
        "source": folders,
        "data_hash": [manifest["data_hash"] for manifest in manifests],
        "samples_per_shard": samples_per_shard or PER_SHARD[source.kind],
        "seed": seed,
    }
    write_folder(
        out,
        Making("merge", config, source.kept),
        source,
        plan(mixed, config["samples_per_shard"]),
        Storage(max_skipped=max_skipped),
        workers,
    )
