"""Files below a folder, and the classes that the folders in it stand for."""

import os
from collections.abc import Collection
from pathlib import Path

from jepa_wm.errors import UserError


class Files:
    """Files below `folder` that end with one of `suffixes`, by path; links are followed, hidden ones left out.

    Args:
        folder: the folder.
        suffixes: lower case, with the dot.

    Attributes:
        paths: relative to `folder`, with `/`, sorted.
        classes: the sorted names of the folders that hold any.
    """

    def __init__(self, folder: str, suffixes: Collection[str]) -> None:
        self.folder = folder
        self.paths: list[str] = []
        # Unlike Path.rglob it follows links, of which subsets of large sets of images are often made.
        for here, folders, names in os.walk(folder, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            self.paths += [
                Path(here, name).relative_to(folder).as_posix()
                for name in names
                if not name.startswith(".") and Path(name).suffix.lower() in suffixes
            ]
        self.paths.sort()
        self.classes = sorted({path.partition("/")[0] for path in self.paths if "/" in path})

    def read(self, index: int) -> bytes:
        """The contents of a file.

        Raises:
            UserError: if it cannot be read.
        """
        return read_file(Path(self.folder) / self.paths[index])

    def label(self, index: int) -> tuple[dict[str, bytes], dict[str, str]]:
        """The member `cls` of a file and what `json` says of it; a file that is in no folder has no class."""
        path = self.paths[index]
        name, slash, _ = path.partition("/")
        if not slash:
            return {}, {"path": path}
        return {"cls": b"%d" % self.classes.index(name)}, {"path": path, "class": name}


def read_file(path: Path) -> bytes:
    """The contents of a file.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    # A path that no file can have is a ValueError.
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_text(path: Path) -> str:
    """The contents of a file of UTF-8, with or without a byte order mark.

    Raises:
        UserError: if it cannot be read, or is none.
    """
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}; save it as UTF-8") from error
