"""Call a function for each of many arguments, in several processes if that is wanted."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context, parent_process
from threading import Thread
from typing import Any

from jepa_wm.errors import UserError

_here: dict[str, Callable[..., Any]] = {}
"""In a worker: the function that it calls."""


def each(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], workers: int) -> Iterator[Any]:
    """What the function gives for each tuple of arguments, as it comes; the first error ends it.

    If this process is killed, its workers end too.

    Args:
        function: can be pickled; each worker gets it once, and with it what a `partial` binds.
        arguments: of the calls; with several workers they are pickled.
        workers: processes; 1 or less calls it in this one.

    Raises:
        UserError: if a worker dies.
    """
    if workers <= 1:
        for own in arguments:
            yield function(*own)
        return
    # Not a plain fork: libraries that importers use may have threads, whose locks a child would inherit. The
    # server that forks instead imports once for all workers.
    context: Any = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(workers, context, _start, (function,)) as pool:
        try:
            for future in as_completed([pool.submit(_call, *own) for own in arguments]):
                yield future.result()
        except BrokenProcessPool:
            raise UserError(
                f"one of {workers} worker processes died, for want of memory perhaps: run the same command again, "
                "with fewer workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start(function: Callable[..., Any]) -> None:
    _here["function"] = function
    Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    # A pool's workers wait for ever for the next call of a process that was killed.
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _call(*arguments: Any) -> Any:
    return _here["function"](*arguments)
