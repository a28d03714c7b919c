"""Have remote files here: fetched whole, kept within a bound, shared by all processes.

webdataset's and fsspec's caches know no bound, no lock between processes or no check of the length, and
give up at the first error; so only their transports are used.
"""

import hashlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from filelock import FileLock

from jepa_wm.data.addresses import is_pipe, is_remote, local_path
from jepa_wm.data.transport import fetch
from jepa_wm.errors import UserError

FETCHERS = 2
IN_USE = 60.0
"""Seconds after its last use in which a file makes no room for one that is fetched ahead."""
ABANDONED = 3600.0
"""Seconds after its last byte at which a download is taken for that of a process that was killed."""
OURS = re.compile(r"[0-9a-f]{24}-")


class Cache:
    """Local copies of remote files.

    A file appears in the cache only when it is whole. Where the bound is passed the files that were not
    used for the longest time go; one that is open stays readable. It should hold some windows of a loader.
    Other files of the folder are left alone.

    Args:
        folder: where copies are kept; by default `$JEPA_WM_CACHE`, else `~/.cache/jepa_wm`.
        gib: bound of their size, in GiB.
        retries: attempts after the first that failed.
        timeout: seconds without a byte after which an attempt has failed.
        allow_pipe: whether `pipe:` addresses are run, as shell commands whose output is the file.
        options: of fsspec's file systems: keys, end points.
    """

    def __init__(
        self,
        folder: str | None = None,
        gib: float = 50.0,
        retries: int = 5,
        timeout: float = 30.0,
        allow_pipe: bool = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder or os.environ.get("JEPA_WM_CACHE") or Path.home() / ".cache" / "jepa_wm")
        self.gib, self.retries, self.timeout, self.allow_pipe = gib, retries, timeout, allow_pipe
        self.options = options or {}
        self._prefetcher: _Prefetcher | None = None

    def path(self, address: str, spare: float = 0.0) -> Path:
        """Where the file at `address` is on this machine; a remote one is fetched first.

        Args:
            address: of the file.
            spare: files used within so many seconds do not make room for it; rather it goes itself.

        Raises:
            UserError: if it cannot be fetched.
        """
        if not is_remote(address):
            return local_path(address)
        if is_pipe(address) and not self.allow_pipe:
            raise UserError(
                f"'{address}' would run a command; if it is yours, Cache(allow_pipe=True) runs it, and so does "
                "`--allow_pipe true` of `jepa-wm shards inspect` and `verify`"
            )
        target = self._place(address)
        with FileLock(f"{target}.lock"):
            if not target.exists():
                self._fetch(address, target)
                self._evict(target, spare)
            # Files are evicted by the time of last use. That of the last change stays: an index is told by it.
            with suppress(FileNotFoundError):
                os.utime(target, ns=(time.time_ns(), target.stat().st_mtime_ns))
        return target

    def json(self, address: str) -> Any:
        """The JSON at a remote address, fetched anew each time: it is small, and may change.

        Raises:
            UserError: if it cannot be fetched, or is no JSON.
        """
        target = self._place(address, f".{os.getpid()}.once")
        try:
            self._fetch(address, target)
            return json.loads(target.read_text())
        except ValueError as error:
            raise UserError(f"{address} is not valid JSON ({error})") from None
        finally:
            target.unlink(missing_ok=True)

    def prefetch(self, addresses: Iterable[str]) -> None:
        """Begin to fetch files in the background; what fails is reported when it is asked for."""
        if self._prefetcher is None or self._prefetcher.process != os.getpid():
            self._prefetcher = _Prefetcher(self)
        for address in addresses:
            if is_remote(address) and not (self.folder / _name(address, self.options)).exists():
                self._prefetcher.add(address)

    def _place(self, address: str, suffix: str = "") -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cache folder {self.folder} cannot be made ({error}); set JEPA_WM_CACHE") from error
        return self.folder / (_name(address, self.options) + suffix)

    def _fetch(self, address: str, target: Path) -> None:
        partial = target.with_name(f"{target.name}.partial")
        try:
            if is_pipe(address):
                _run(address, partial)
            else:
                fetch(address, partial, self.retries, self.timeout, self.options)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def _evict(self, new: Path, spare: float) -> None:
        files = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                stat = path.stat()
                unfinished = path.suffix in (".partial", ".once") and stat.st_mtime > time.time() - ABANDONED
                if OURS.match(path.name) and path.suffix != ".lock" and not unfinished:
                    files.append((stat.st_atime, stat.st_size, path))
        size, bound = sum(size for _, size, _ in files), self.gib * 2**30
        old = sorted(file for file in files if file[2] != new and (not spare or file[0] < time.time() - spare))
        for _, there, path in [*old, *((0, there, path) for _, there, path in files if spare and path == new)]:
            if size > bound:
                path.unlink(missing_ok=True)
                size -= there

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prefetcher": None}


class _Prefetcher:
    """Threads that end with the process, whatever is still to be fetched; an executor's would not."""

    def __init__(self, cache: Cache) -> None:
        self.cache, self.process = cache, os.getpid()
        self._queue: SimpleQueue[str] = SimpleQueue()
        self._queued: set[str] = set()
        for _ in range(FETCHERS):
            threading.Thread(target=self._work, name="prefetch", daemon=True).start()

    def add(self, address: str) -> None:
        if address not in self._queued:
            self._queued.add(address)
            self._queue.put(address)

    def _work(self) -> None:
        while True:
            address = self._queue.get()
            with suppress(Exception):
                self.cache.path(address, spare=IN_USE)
            self._queued.discard(address)


def _name(address: str, options: dict[str, Any]) -> str:
    """A file name that no other address has, nor the same at another end point, and that people can read."""
    tail = re.sub(r"[^A-Za-z0-9._-]", "_", address.rpartition("/")[2])[-80:]
    digest = hashlib.sha256(json.dumps([address, options], sort_keys=True, default=str).encode())
    return f"{digest.hexdigest()[:24]}-{tail}"


def _run(address: str, target: Path) -> None:
    command = address.removeprefix("pipe:")
    with open(target, "wb") as file:
        done = subprocess.run(command, shell=True, stdout=file, stderr=subprocess.PIPE)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()[-200:]
        raise UserError(f"the command of '{address}' failed with exit status {done.returncode}: {why}")
