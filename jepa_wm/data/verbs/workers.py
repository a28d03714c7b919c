"""Call a function for each of many arguments, in several processes if that is wanted."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any


def each(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], workers: int) -> Iterator[Any]:
    """What the function gives for each tuple of arguments, as it comes; the first error ends it.

    Args:
        function: of a module.
        arguments: of the calls; with several workers they are pickled.
        workers: processes; 1 or less calls it in this one.
    """
    if workers <= 1:
        for own in arguments:
            yield function(*own)
        return
    # Not forked: libraries that importers use may have threads, whose locks a child would inherit.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(function, *own) for own in arguments]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
