"""Fetch one file, patiently: errors and stalls are tried again, and what arrives is checked to be whole."""

import http.client
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jepa_wm.errors import UserError

FIRST_WAIT = 0.1
LONGEST_WAIT = 10.0
BLOCK = 2**20
IN_URLS = "%/:=&?~#+!$,;'@()*[]"


class Refused(Exception):
    """The server says no, and would say so again."""


def fetch(address: str, target: Path, retries: int, timeout: float, options: dict[str, Any]) -> None:
    """Write the file at `address`, http(s) or any that fsspec knows, to `target`.

    Args:
        address: of the file.
        target: where it goes; rubbish may be left there on failure.
        retries: attempts after the first that failed.
        timeout: seconds without a byte after which an attempt has failed.
        options: of fsspec's file systems.

    Raises:
        UserError: if all attempts fail, naming the address and the last reason.
    """
    target.unlink(missing_ok=True)
    attempt: Callable[[], None]
    if address.startswith(("http://", "https://")):
        attempt = _Http(address, target, timeout)
    else:
        attempt = _FileSystem(address, target, timeout, options)
    for number in range(retries + 1):
        try:
            return attempt()
        except Refused as error:
            raise UserError(f"{address} cannot be fetched: {error}") from error
        # Drivers raise errors of their own kinds; whatever it is, another attempt may do.
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if number < retries:
            time.sleep(random.uniform(0.5, 1.0) * min(FIRST_WAIT * 2**number, LONGEST_WAIT))
    raise UserError(f"{address} cannot be fetched: {retries + 1} attempts failed, the last with {why}")


class _Http:
    """Attempts at one URL; each goes on where the one before was cut off, if the server lets it."""

    def __init__(self, url: str, target: Path, timeout: float) -> None:
        self.url, self.target, self.timeout = urllib.parse.quote(url, safe=IN_URLS), target, timeout
        self.version = ""

    def __call__(self) -> None:
        have = self.target.stat().st_size if self.version and self.target.exists() else 0
        # If the file has changed in between, the whole of it comes.
        headers = {"Range": f"bytes={have}-", "If-Range": self.version} if have else {}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.url, headers=headers), timeout=self.timeout
            ) as response:
                self._receive(response, have if response.status == 206 else 0)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    self.version = ""
                elif 400 <= error.code < 500 and error.code not in (408, 429):
                    raise Refused(f"HTTP {error.code} {error.reason}") from error
            raise

    def _receive(self, response: http.client.HTTPResponse, have: int) -> None:
        before, self.version = self.version, response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        begin = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if have and (self.version != before or begin != str(have)):
            # Not every server honours If-Range, nor the range itself: two versions are not to be joined.
            self.version = ""
            raise OSError("the rest that came is not that of what is here")
        length = response.headers.get("Content-Length")
        got = have
        with open(self.target, "r+b" if have else "wb") as file:
            file.seek(have)
            # Not read(), which on a stall would lose the part of a block that came.
            while block := response.read1(BLOCK):
                file.write(block)
                got += len(block)
        if length is not None and got != have + int(length):
            raise OSError(f"cut off after {got} of {have + int(length)} bytes")


class _FileSystem:
    """Attempts at an address of one of fsspec's file systems, watched for stalls, which few drivers end."""

    def __init__(self, address: str, target: Path, timeout: float, options: dict[str, Any]) -> None:
        self.address, self.target, self.timeout, self.options = address, target, timeout, options
        self.attempts = 0

    def __call__(self) -> None:
        failure: list[Exception] = []
        # A file for each attempt: the thread of one that was given up may still write, or only then begin to.
        self.attempts += 1
        part = self.target.with_name(f"{self.target.name}.{self.attempts}.partial")
        thread = threading.Thread(target=self._download, args=(part, failure), daemon=True)
        thread.start()
        last, since = -1, time.monotonic()
        while thread.is_alive():
            thread.join(min(0.05, self.timeout))
            size = part.stat().st_size if part.exists() else 0
            if size != last:
                last, since = size, time.monotonic()
            elif thread.is_alive() and time.monotonic() - since > self.timeout:
                part.unlink(missing_ok=True)
                raise TimeoutError(f"no byte in {self.timeout} s")
        if failure:
            part.unlink(missing_ok=True)
            raise failure[0]
        part.replace(self.target)

    def _download(self, part: Path, failure: list[Exception]) -> None:
        import fsspec

        try:
            files, path = fsspec.core.url_to_fs(self.address, **self.options)
            size = files.info(path)["size"]
            files.get_file(path, str(part))
            if size is not None and part.stat().st_size != size:
                raise OSError(f"{part.stat().st_size} of {size} bytes came")
        except ImportError as error:
            failure.append(Refused(f"its file system needs another package ({error})"))
        except (FileNotFoundError, PermissionError, ValueError) as error:
            failure.append(Refused(f"{type(error).__name__}: {error}"))
        except Exception as error:
            failure.append(error)
