"""JSON lines, read without judgement of what they say."""

import json
from pathlib import Path
from typing import Any

from jepa_wm.errors import UserError

Row = dict[str, Any]


def read_rows(path: Path, keys: set[str]) -> list[Row]:
    """The rows of a file, none where it is not there.

    Raises:
        UserError: if one is no JSON, or lacks one of `keys`.
    """
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: no JSON ({error}); run its stage again") from None
    return checked(rows, path, keys)


def checked(rows: Any, path: Path, keys: set[str]) -> list[Row]:
    """The rows that were read from a file, if each has `keys`.

    Raises:
        UserError: if one has not.
    """
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        if not isinstance(row, dict) or not keys <= set(row):
            raise UserError(f"{path}, row {number}: expected an object with {', '.join(sorted(keys))}; got {row!r:.80}")
    return list(rows)
