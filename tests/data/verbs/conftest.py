"""A source that can be told to fail or to wait, and folders of shards."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

from jepa_wm.data.importers import Importer, Item
from jepa_wm.errors import UserError

SPEC = importlib.util.spec_from_file_location(
    "importer_sources", Path(__file__).parents[1] / "importers" / "sources.py"
)
assert SPEC and SPEC.loader
SOURCES = sys.modules.setdefault(SPEC.name, importlib.util.module_from_spec(SPEC))
SPEC.loader.exec_module(SOURCES)


class Numbers(Importer):
    """Small images that tell their number; some cannot be read.

    Args:
        count: images.
        broken: numbers of those that cannot be read.
        wait: seconds that each takes.
    """

    kind = "images"

    def __init__(self, count: int = 50, broken: list[int] = [], wait: float = 0.0) -> None:  # noqa: B006
        self.count, self.broken, self.wait = count, broken, wait

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        time.sleep(self.wait)
        if index in self.broken:
            raise UserError(f"picture {index} is torn")
        group = b'{"group": "%c"}' % (b"abcde"[index % 5])
        picture = SOURCES.file_of(SOURCES.grey(index, 4, 4), "png")
        return Item(f"n{index}", {"png": picture, "cls": b"%d" % index, "json": group})


@pytest.fixture
def numbers() -> type[Numbers]:
    return Numbers


@pytest.fixture
def sources():
    return SOURCES
