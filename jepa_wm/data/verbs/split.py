"""`jepa-wm shards split`: divide the samples of a folder of shards anew."""

import json
from typing import Any

import numpy as np

from jepa_wm.data.broken import BrokenSample
from jepa_wm.data.folder import STAGES
from jepa_wm.data.randomness import generator
from jepa_wm.data.verbs.pack import PER_SHARD, divide
from jepa_wm.data.verbs.packing import Making, Storage, plan, write_folder
from jepa_wm.data.verbs.stored import StoredSamples
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest


def split(
    folder: str,
    out: str,
    held_out: float = 0.1,
    group: str | None = None,
    samples_per_shard: int | None = None,
    max_skipped: float = 0.01,
    workers: int = 1,
    seed: int = 0,
) -> None:
    """Divide the samples of a folder of shards anew into train, val and test, and mix them.

    Nothing is decoded or encoded. Goes on where it was interrupted, as `pack` does.

    Args:
        folder: of shards.
        out: folder for the new shards.
        held_out: share of the samples, or of the groups, kept from training, half for val, half for test.
        group: a field of the samples' `json`; samples that agree in it stay together in one split.
        samples_per_shard: samples in each shard but the last; by default as `pack`.
        max_skipped: share of the samples that may be left out because they cannot be read.
        workers: processes.
        seed: seeds the division.

    Raises:
        UserError: if an argument is out of range, or the folder or `out` is no good.
    """
    if not 0 <= held_out < 1 or seed < 0:
        raise UserError(f"held_out is {held_out}, seed {seed}; expected 0 to 1, and at least 0")
    parts = [(folder, name) for name in read_manifest(folder, *STAGES)["splits"]]
    source = StoredSamples(parts, [""] * len(parts))
    groups = np.arange(len(source)) if group is None else _groups(source, group)
    config: dict[str, Any] = {
        "source": folder,
        "data_hash": read_manifest(folder)["data_hash"],
        "held_out": held_out,
        "group": group,
        "samples_per_shard": samples_per_shard or PER_SHARD[source.kind],
        "seed": seed,
    }
    random = generator("split", seed)
    divided = divide(random.permutation(int(groups.max()) + 1), held_out)
    splits = {
        name: random.permutation(np.flatnonzero(np.isin(groups, members))).tolist() for name, members in divided.items()
    }
    shards = plan(splits, config["samples_per_shard"])
    write_folder(out, Making("split", config, source.kept), source, shards, Storage(max_skipped=max_skipped), workers)


def _groups(source: StoredSamples, field: str) -> np.ndarray:
    """The number of each sample's group."""
    values: list[Any] = []
    for number in range(len(source)):
        try:
            record = json.loads(source.members(number, "json")["json"])
        # A sample that cannot be read is a group of its own: it will be skipped.
        except (BrokenSample, ValueError):
            record = {field: ["broken", number]}
        if not isinstance(record, dict) or field not in record:
            has = sorted(record) if isinstance(record, dict) else type(record).__name__
            raise UserError(f"sample {source.keys[number]} has no '{field}' in its json; it has {has}")
        values.append(json.dumps(record[field], sort_keys=True))
    return np.unique(values, return_inverse=True)[1]
