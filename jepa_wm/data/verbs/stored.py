"""Samples that are in shards already, as a source of others: copied, not decoded."""

from jepa_wm.data.cache import Cache
from jepa_wm.data.importers.base import Item
from jepa_wm.data.shards import Shards
from jepa_wm.errors import UserError


class StoredSamples:
    """All samples of some splits of folders of shards, one split after another.

    Args:
        parts: folders, each with one of its splits.
        prefixes: what is put before the keys of each part.
        cache: where remote shards are kept.

    Attributes:
        kind: of the samples.

    Raises:
        UserError: if the folders hold samples of different kinds.
    """

    def __init__(self, parts: list[tuple[str, str]], prefixes: list[str], cache: Cache | None = None) -> None:
        self.shards = [Shards(folder, split, cache) for folder, split in parts]
        self.prefixes = prefixes
        kinds = {(shards.manifest or {}).get("kind") for shards in self.shards}
        if len(kinds) != 1 or None in kinds:
            raise UserError(f"the folders hold {' and '.join(sorted(map(str, kinds)))}; expected samples of one kind")
        self.kind = str(kinds.pop())
        self._ends = [sum(map(len, self.shards[: number + 1])) for number in range(len(self.shards))]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Item:
        part = next(number for number, end in enumerate(self._ends) if index < end)
        shards, number = self.shards[part], index - self._ends[part] + len(self.shards[part])
        members = shards.members(number)
        return Item(self.prefixes[part] + shards.name(number).partition(":")[2], members)

    def range_of(self, part: int) -> list[int]:
        """The numbers of a part's samples."""
        return list(range(self._ends[part] - len(self.shards[part]), self._ends[part]))
