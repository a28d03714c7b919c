"""A CSV, TSV or Parquet file of images and captions."""

import csv
import io
import json
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from os.path import normpath
from pathlib import Path
from typing import Any

from jepa_wm.data.importers.base import Importer, Item
from jepa_wm.data.importers.files import read_file, read_text
from jepa_wm.data.importers.pictures import image_member
from jepa_wm.errors import UserError


class Table(Importer):
    """Images and their captions; other columns go into `json` where JSON has their values, of an image's first row.

    Rows that name one file are one image with several captions, so that no split holds what another one does. Of
    Parquet one row group at a time is held in memory, and the column of paths; a CSV as a whole.

    Args:
        path: a `.csv`, `.tsv` or `.parquet` file.
        image: column of the images: paths below `root`, or in Parquet their bytes, also as `{bytes, path}`.
        caption: column of the captions; "" for none. Of several the first is in `txt`, and `json` has a list of all.
        root: folder that paths begin from; by default the table's own.
        label: column of the classes, whole numbers from 0, or nothing where a row has none; "" for none at all.

    Raises:
        UserError: if the file cannot be read, or has no such columns.
    """

    kind = "images"

    def __init__(
        self, path: str, image: str = "image", caption: str = "caption", root: str | None = None, label: str = ""
    ) -> None:
        self.path, self.image, self.caption, self.root, self.label = path, image, caption, root, label
        columns = _open(path).columns
        if missing := [name for name in (image, caption, label) if name and name not in columns]:
            raise UserError(f"{path} has no column {missing}; it has {columns}; name them by image, caption and label")

    def __len__(self) -> int:
        images = _images(self.path, self.image)
        return len(_open(self.path)) if images is None else len(images)

    def __getitem__(self, index: int) -> Item:
        """See `Importer`."""
        images = _images(self.path, self.image)
        numbers = [index] if images is None else images[index]
        rows = [_open(self.path).row(number) for number in numbers]
        row, where = rows[0], f"row {numbers[0]} of {self.path}"
        members = image_member(self._bytes(row.pop(self.image), where), where)
        if self.caption:
            told = [each.pop(self.caption) for each in rows]
            captions = [text for value in told for text in (value if isinstance(value, list) else [value])]
            captions = [str(text) for text in captions if text is not None and str(text).strip()]
            members["txt"] = (captions[0] if captions else "").encode()
            if len(rows) > 1 or isinstance(told[0], list):
                row[self.caption] = captions
        if self.label:
            labels = {
                _class(each.pop(self.label), f"row {at} of {self.path}") for at, each in zip(numbers, rows, strict=True)
            }
            if len(labels) > 1:
                raise UserError(
                    f"{where} and others of its image have the labels {sorted(labels, key=str)}; expected one"
                )
            if (label := labels.pop()) is not None:
                members["cls"] = b"%d" % label
        about = {name: value for name, value in row.items() if _has_json(value)}
        return Item(f"{index:08d}", {**members, "json": json.dumps(about).encode()})

    def _bytes(self, image: Any, where: str) -> bytes:
        if isinstance(image, dict):
            image = image.get("bytes") or image.get("path")
        if isinstance(image, bytes):
            return image
        if not image or not isinstance(image, str) or "\0" in image:
            raise UserError(f"{where} has {image!r} for its image; expected a path or bytes")
        root = (Path(self.root) if self.root else Path(self.path).parent).resolve()
        path = (root / image).resolve()
        if not path.is_relative_to(root):
            raise UserError(f"{where} names '{image}', which is outside of {root}; see root")
        try:
            return read_file(path)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


def _class(label: Any, where: str) -> int | None:
    text = "" if label is None else str(label).strip()
    if not text:
        return None
    if not text.isdecimal():
        raise UserError(f"{where} has the label {label!r}; expected a whole number, 0 or more: number the classes")
    return int(text)


def read_csv(path: str) -> tuple[list[str], list[list[str]]]:
    """The names of the columns and the rows of a `.csv` or `.tsv` file.

    Raises:
        UserError: if it cannot be read.
    """
    text = io.StringIO(read_text(Path(path)), newline="")
    try:
        rows = csv.reader(text, delimiter="\t" if path.endswith(".tsv") else ",")
        return next(rows, []), [row for row in rows if row]
    except csv.Error as error:
        raise UserError(f"{path} cannot be read: {error}") from error


class _Csv:
    def __init__(self, path: str) -> None:
        self.columns, self._rows = read_csv(path)

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, name: str) -> Iterable[Any]:
        """Its values, row by row; a row that is short of them has none."""
        place = self.columns.index(name)
        return (row[place] if place < len(row) else None for row in self._rows)

    def row(self, index: int) -> dict[str, Any]:
        values: list[str | None] = [*self._rows[index]]
        return dict(zip(self.columns, values + [None] * len(self.columns), strict=False))


class _Parquet:
    def __init__(self, path: str) -> None:
        import pyarrow.parquet

        self._path, self._broken = path, (OSError, pyarrow.ArrowException)
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except self._broken as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        self.columns: list[str] = self._file.schema_arrow.names
        groups = range(self._file.num_row_groups)
        sizes = (self._file.metadata.row_group(group).num_rows for group in groups)
        self._starts = list(accumulate(sizes, initial=0))
        self._group = -1
        self._rows: Any = None

    def __len__(self) -> int:
        return self._starts[-1]

    def column(self, name: str) -> Iterable[Any] | None:
        """Its values, row by row, if they are text."""
        import pyarrow

        kind = self._file.schema_arrow.field(name).type
        if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
            return None
        try:
            return iter(self._file.read(columns=[name]).column(0).to_pylist())
        except self._broken as error:
            raise UserError(f"column {name} of {self._path} cannot be read: {error}") from error

    def row(self, index: int) -> dict[str, Any]:
        group = bisect_right(self._starts, index) - 1
        if group != self._group:
            # Let go of one before the next is read: memory holds one.
            self._group, self._rows = -1, None
            try:
                self._rows = self._file.read_row_group(group)
            except self._broken as error:
                raise UserError(f"row {index} of {self._path} cannot be read: {error}") from error
            self._group = group
        row: dict[str, Any] = self._rows.slice(index - self._starts[group], 1).to_pylist()[0]
        return row


@lru_cache(maxsize=1)
def _open(path: str) -> _Csv | _Parquet:
    if path.endswith(".parquet"):
        return _Parquet(path)
    if not path.endswith((".csv", ".tsv")):
        raise UserError(f"{path} is neither .csv nor .tsv nor .parquet")
    return _Csv(path)


@lru_cache(maxsize=1)
def _images(path: str, image: str) -> list[list[int]] | None:
    """The rows of each image, which are those that name the same file; None where the table holds no names."""
    named, rows = _open(path).column(image), dict[Any, list[int]]()
    if named is None:
        return None
    for number, name in enumerate(named):
        rows.setdefault(normpath(name) if name else number, []).append(number)
    return list(rows.values())


def _has_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
