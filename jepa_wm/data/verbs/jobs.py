"""Write one shard of a source's samples, and what is known of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jepa_wm.data.episodes import DEFAULT_CODEC, Episode, encode
from jepa_wm.data.importers.base import Item
from jepa_wm.data.verbs.facts import Facts, facts_of
from jepa_wm.data.writer import write_shard
from jepa_wm.errors import UserError
from jepa_wm.files import write_json


class Source(Protocol):
    """Samples by number, of one kind."""

    kind: str

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int) -> Item | Episode:
        """Read one; a `UserError` says why it cannot be read."""
        ...


class Shard(NamedTuple):
    """A shard to be written: its file name, and the numbers of its samples in the source."""

    name: str
    numbers: list[int]


@dataclass(frozen=True)
class Storage:
    """How episodes that are not encoded yet are to be stored, and how much may be left out.

    Raises:
        UserError: if `max_skipped`, a share, is not from 0 to 1.
    """

    codec: str = DEFAULT_CODEC
    quality: int | None = None
    max_skipped: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.max_skipped <= 1:
            raise UserError(f"max_skipped is {self.max_skipped}; expected a share, 0 to 1")


def record_of(aside: Path, shard: Shard) -> Path:
    """Where `write_one` says that a shard is written."""
    return aside / f"{shard.name}.record.json"


def write_one(shard: Shard, aside: Path, source: Source, storage: Storage) -> dict[str, Any]:
    """Write one shard and, last, what is known of it: the manifest's record, facts, and samples skipped."""
    skipped: list[dict[str, Any]] = []
    facts = Facts()

    def samples() -> Iterator[Item]:
        nonlocal facts
        for number in shard.numbers:
            try:
                item = _item(source[number], storage)
                own = facts_of(item.members)
            except UserError as error:
                skipped.append({"index": number, "why": str(error)})
                continue
            facts = Facts.merge([facts, own])
            yield item

    record: dict[str, Any] | None = write_shard(aside / shard.name, samples())
    if not facts.members:
        for path in aside.glob(f"{shard.name}*"):
            path.unlink()
        record = None
    known = {"record": record, "facts": facts.to_json(), "skipped": skipped, "samples": len(shard.numbers)}
    write_json(record_of(aside, shard), known)
    return known


def _item(sample: Item | Episode, storage: Storage) -> Item:
    if isinstance(sample, Episode):
        return Item(sample.id, encode(sample, storage.codec, storage.quality))
    return sample
