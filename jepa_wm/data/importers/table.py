"""A CSV, TSV or Parquet file of images and captions."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from jepa_wm.data.importers.base import Importer, Item
from jepa_wm.data.importers.pictures import image_member
from jepa_wm.errors import UserError


class Table(Importer):
    """Rows of an image and its caption; other columns go into `json`.

    Args:
        path: a `.csv`, `.tsv` or `.parquet` file.
        image: column of the images: paths below `root`, or in Parquet their bytes, also as `{bytes, path}`.
        caption: column of the captions; "" for none.
        root: folder that paths begin from; by default the table's own.

    Raises:
        UserError: if the file cannot be read, or has no such columns.
    """

    kind = "images"

    def __init__(self, path: str, image: str = "image", caption: str = "caption", root: str | None = None) -> None:
        self.path, self.image, self.caption, self.root = path, image, caption, root
        columns = _columns(path)
        if missing := [name for name in (image, caption) if name and name not in columns]:
            raise UserError(f"{path} has no column {missing}; it has {columns}; name them by image and caption")
        self._ends = _group_ends(path)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Item:
        """See `Importer`."""
        group = next(number for number, end in enumerate(self._ends) if index < end)
        rows = _group(self.path, group)
        row = dict(rows[index - self._ends[group] + len(rows)])
        members = image_member(self._bytes(row.pop(self.image), index), f"row {index} of {self.path}")
        if self.caption:
            members["txt"] = str(row.pop(self.caption) or "").encode()
        return Item(f"{index:08d}", {**members, "json": json.dumps(row, default=str).encode()})

    def _bytes(self, image: Any, index: int) -> bytes:
        if isinstance(image, dict):
            image = image.get("bytes") or image.get("path")
        if isinstance(image, bytes):
            return image
        root = (Path(self.root) if self.root else Path(self.path).parent).resolve()
        path = (root / str(image)).resolve()
        if not path.is_relative_to(root):
            raise UserError(f"row {index} of {self.path} names '{image}', which is outside of {root}; see root")
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"row {index} of {self.path}: {path} cannot be read: {error.strerror}") from error


def _columns(path: str) -> list[str]:
    if path.endswith(".parquet"):
        return list(_parquet(path).schema_arrow.names)
    return list(_csv(path)[0]) if _csv(path) else []


def _group_ends(path: str) -> list[int]:
    """Rows before the end of each group of rows that are read at once: a whole CSV, a row group of Parquet."""
    if not path.endswith(".parquet"):
        return [len(_csv(path))]
    file, ends = _parquet(path), [0]
    for group in range(file.num_row_groups):
        ends.append(ends[-1] + file.metadata.row_group(group).num_rows)
    return ends[1:]


@lru_cache(maxsize=1)
def _group(path: str, group: int) -> list[dict[str, Any]]:
    if path.endswith(".parquet"):
        rows: list[dict[str, Any]] = _parquet(path).read_row_group(group).to_pylist()
        return rows
    return _csv(path)


@lru_cache(maxsize=1)
def _csv(path: str) -> list[dict[str, Any]]:
    import csv

    if not path.endswith((".csv", ".tsv")):
        raise UserError(f"{path} is neither .csv nor .tsv nor .parquet")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file, delimiter="\t" if path.endswith(".tsv") else ","))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


@lru_cache(maxsize=1)
def _parquet(path: str) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("Parquet needs pyarrow: pip install 'jepa_wm[import]'") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
