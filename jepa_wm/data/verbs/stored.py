"""Samples that are in shards already, as a source of others: copied, not decoded."""

import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from jepa_wm.data.cache import Cache
from jepa_wm.data.importers.base import Item
from jepa_wm.data.shards import Shards
from jepa_wm.errors import UserError


class StoredSamples:
    """All samples of some splits of folders of shards, one split after another, under keys of their own.

    Args:
        parts: folders, each with one of its splits.
        prefixes: what is put before the keys of each part.
        cache: where remote shards are kept.

    Attributes:
        kind: of the samples.
        kept: what the folders' manifests agree in and others need: the environment and its actions, what made latents.

    Raises:
        UserError: if the folders hold samples of different kinds.
    """

    def __init__(self, parts: list[tuple[str, str]], prefixes: list[str], cache: Cache | None = None) -> None:
        self.shards = [Shards(folder, split, cache) for folder, split in parts]
        kinds = {(shards.manifest or {}).get("kind") for shards in self.shards}
        if len(kinds) != 1 or None in kinds:
            raise UserError(f"the folders hold {' and '.join(sorted(map(str, kinds)))}; expected samples of one kind")
        self.kind = str(kinds.pop())
        manifests = [shards.manifest or {} for shards in self.shards]
        self.kept: dict[str, Any] = {
            name: manifests[0][name]
            for name in ("environment", "action_space", "encoded_by")
            if name in manifests[0] and all(manifest.get(name) == manifests[0][name] for manifest in manifests)
        }
        self._ends = list(accumulate(map(len, self.shards)))
        self.keys = unique_keys(
            f"{prefix}{key}"
            for shards, prefix in zip(self.shards, prefixes, strict=True)
            for key in shards.sample_keys()
        )

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Item:
        return Item(self.keys[index], self.members(index))

    def members(self, index: int, *extensions: str) -> dict[str, bytes]:
        """See `Shards.members`."""
        shards = self.shards[part := bisect(self._ends, index)]
        return shards.members(index - self._ends[part] + len(shards), *extensions)

    def range_of(self, part: int) -> list[int]:
        """The numbers of a part's samples."""
        return list(range(self._ends[part] - len(self.shards[part]), self._ends[part]))


def unique_keys(keys: Iterable[str]) -> list[str]:
    """Keys that may be written, no two alike, from keys as they are found in tars from elsewhere.

    What may not be in a key becomes `-`; of those that are the same the first stays, the others get a number.
    """
    clean = [re.sub(r"[^A-Za-z0-9_-]", "-", key)[:80] or "-" for key in keys]
    taken, met, unique = set(clean), Counter[str](), []
    for key in clean:
        met[key] += 1
        new = key
        while met[key] > 1 and new in taken:
            new = f"{key[:68]}-{met[key]}"
            met[key] += new in taken
        taken.add(new)
        unique.append(new)
    return unique
