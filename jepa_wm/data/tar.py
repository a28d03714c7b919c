"""Find the members of a tar, whatever has happened to it."""

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BLOCK = tarfile.BLOCKSIZE
LONGEST_NAME = 4096
WITHOUT_DATA = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.DIRTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)


class Member(NamedTuple):
    """A file of a tar.

    Attributes:
        key: its name up to the first dot, folders included.
        extension: the rest, in lower case.
        offset: where its contents begin, in bytes.
        size: of its contents, in bytes.
        problem: why it cannot be used, or "".
    """

    key: str
    extension: str
    offset: int
    size: int
    problem: str


def members(path: Path) -> Iterator[Member]:
    """The files of a tar that belong to samples, in order.

    A header that is damaged is skipped, and reading goes on at the next that is whole: one flipped
    byte loses one member, not the rest of the shard. Folders, links and hidden files are left out.
    """
    with open(path, "rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        at, long_name = 0, ""
        while at + BLOCK <= end:
            info = _header(_read(file.fileno(), at, BLOCK))
            at += BLOCK
            if info is None:
                continue
            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
                long_name = _long_name(info.type, _read(file.fileno(), at, min(info.size, LONGEST_NAME)))
            else:
                regular = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
                if regular and (parts := _NAME.fullmatch(_printable(long_name or info.name))):
                    problem = _problem(parts[1], at + info.size > end)
                    yield Member(parts[1], parts[2].lower(), at, min(info.size, end - at), problem)
                long_name = ""
            # A size beyond the end is a lie or a tar cut short: what follows the header may still be whole.
            if info.type not in WITHOUT_DATA and at + info.size <= end:
                at += -(-info.size // BLOCK) * BLOCK


def _read(file: int, offset: int, size: int) -> bytes:
    return os.pread(file, size, offset)


def _header(block: bytes) -> tarfile.TarInfo | None:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    # Besides its own errors tarfile lets those of its parsers through.
    except (tarfile.TarError, ValueError, IndexError):
        return None
    return info if info.size >= 0 else None


def _long_name(kind: bytes, data: bytes) -> str:
    if kind == tarfile.GNUTYPE_LONGNAME:
        return data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    found = re.search(rb"^\d+ path=([^\n]*)\n", data, re.MULTILINE)
    return found[1].decode("utf-8", "surrogateescape") if found else ""


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").removeprefix("./")


def _problem(key: str, truncated: bool) -> str:
    if key.startswith("/") or "\\" in key or ".." in key.split("/"):
        return "its name leaves the folder"
    return "it is cut short: the shard ends before it does" if truncated else ""
