"""Write aside, then rename: nothing half written is ever seen under its final name."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jepa_wm.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`, a file or a folder, that takes its place on success.

    On an exception the temporary is removed and `path` is left as it was.

    Raises:
        UserError: if a file would take the place of a folder, or a folder that of a file.
    """
    path = Path(os.path.realpath(path))  # What a link leads to is replaced, not the link.
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove(aside)
    try:
        yield aside
        if path.exists() and path.is_dir() != aside.is_dir():
            kinds = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise UserError(f"{path} is a {kinds[0]}; expected the name of a {kinds[1]}, or one that is not taken")
        if path.is_dir():
            _remove(path)
        os.replace(aside, path)
    finally:
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    text = json.dumps(value, indent=2, allow_nan=False)
    with atomic_path(path) as aside:
        aside.write_text(text + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON; a missing or broken file is a `UserError` naming it."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run its stage again") from None
