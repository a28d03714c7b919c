"""Addresses of shards: paths, URLs, and patterns that stand for several."""

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from braceexpand import braceexpand

from jepa_wm.errors import UserError

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")


def expand(addresses: Iterable[str]) -> list[str]:
    """All addresses that patterns stand for, in order.

    `a::b` stands for both, `{000..147}` and `{x,y}` for each, and `*` and `?` of a local path for the files
    there are, sorted. What follows `pipe:` is left as it is.

    Raises:
        UserError: if braces do not match, or a path with `*` stands for nothing.
    """
    return [address for pattern in addresses for part in _parts(pattern) for address in _files(part)]


def is_remote(address: str) -> bool:
    """Whether something must be fetched or run to have what is there."""
    scheme = _SCHEME.match(address)
    return is_pipe(address) or (scheme is not None and scheme[1].lower() != "file")


def is_pipe(address: str) -> bool:
    """Whether it is a shell command whose output is the file."""
    return address.startswith("pipe:")


def local_path(address: str) -> Path:
    """The path that a local address names."""
    return Path(address.removeprefix("file://"))


def join(folder: str, name: str) -> str:
    """The address of file `name` of a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(local_path(folder) / name)


def _parts(pattern: str) -> list[str]:
    if is_pipe(pattern):
        return [pattern]
    try:
        return [address for part in pattern.split("::") for address in braceexpand(part, escape=False)]
    except ValueError as error:
        raise UserError(f"address '{pattern}': its braces do not match; expected such as {{000..147}}") from error


def _files(address: str) -> list[str]:
    if is_remote(address) or not set("*?") & set(address):
        return [address]
    found = sorted(glob.glob(str(local_path(address))))
    if not found:
        raise UserError(f"no file matches '{address}'; expected the address of shards, in which * and ? stand for any")
    return found
