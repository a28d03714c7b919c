"""Training, validation and test images of a folder of shards, also where it has not all three splits."""

import hashlib
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from jepa_wm.data import Shards
from jepa_wm.data.cache import Cache
from jepa_wm.data.folder import manifest_of, records_of
from jepa_wm.errors import UserError
from probes.features import SHARES

GIVERS = {"train": ("val", "test"), "val": ("train", "test"), "test": ("val", "train")}
"""Which split gives some of its samples to one that is missing; the first of these that there is."""


class Part(NamedTuple):
    """Some samples of a split.

    Attributes:
        shards: the split.
        numbers: of the samples in it, int64, ascending.
        begin: number of the split's first sample among those of all splits.
    """

    shards: Shards
    numbers: np.ndarray
    begin: int


def parts_of(folder: str) -> dict[str, Part]:
    """What serves as "train", "val" and "test": the splits that there are, some of which give to those that are not.

    A sample's part depends on its key alone, so that no draw mixes what another one held apart. Where one split serves
    for several, it is shared as `SHARES` has it, so that no part of it lies idle.

    Args:
        folder: of shards.

    Raises:
        UserError: if there are no such shards, or too few samples for three parts.
    """
    present = _splits(folder)
    givers = {split: next(own for own in (split, *GIVERS[split]) if own in present) for split in SHARES}
    begins = dict(zip(present, accumulate(map(len, present.values()), initial=0), strict=False))
    parts = {}
    for own, shards in present.items():
        takers = [split for split in SHARES if givers[split] == own]
        ends = np.cumsum([SHARES[split] for split in takers])
        places = _places(shards) * ends[-1] if len(takers) > 1 else np.zeros(len(shards))
        taker = np.searchsorted(ends, places, side="right")
        for number, split in enumerate(takers):
            parts[split] = Part(shards, np.flatnonzero(taker == number), begins[own])
    if lacking := [split for split, part in parts.items() if not len(part.numbers)]:
        held = ", ".join(f"{len(shards)} of '{split}'" for split, shards in present.items())
        raise UserError(f"{folder} has {held}, which leaves none for {', '.join(lacking)}; pack more samples")
    return {split: parts[split] for split in SHARES}


def _splits(folder: str) -> dict[str, Shards]:
    """The splits that hold samples."""
    manifest = manifest_of(folder, Cache())
    there = manifest.get("splits") or {}
    held = [
        split for split in SHARES if split in there and any(r["samples"] for r in records_of(manifest, split, folder))
    ]
    if not held:
        raise UserError(f"{folder} has samples in none of the splits {', '.join(SHARES)}; make the shards again")
    return {split: Shards(folder, split) for split in held}


def _places(shards: Shards) -> np.ndarray:
    """A number in [0, 1) for each sample, which is a function of its key."""
    digests = (hashlib.sha256(key.encode()).digest() for key in shards.sample_keys())
    return np.array([int.from_bytes(digest[:6], "big") / 2**48 for digest in digests])
