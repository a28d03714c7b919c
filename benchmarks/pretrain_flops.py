"""Seconds, floating-point operations and the rate of bare matrix products; part of `benchmarks.pretrain_baseline`."""

import statistics
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

THREADS, WARM_UPS, REPEATS = 2, 2, 5
SIDE, PRODUCTS = 2048, 8
"""Rows and columns of the matrices of which the rate of bare products is taken, and how many in a row."""


def medians(ways: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each way. They take turns, so that what else runs on the machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    # What a GPU was asked for is done later; before the clock is read, all of it must be.
    finish = torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None
    for turn in range(WARM_UPS + repeats):
        for name, way in ways.items():
            finish()
            start = time.perf_counter()
            way()
            finish()
            if turn >= WARM_UPS:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def gflop(step: Callable[[], object]) -> float:
    """Billions of floating-point operations of the matrix products of one step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def products(dtype: torch.dtype, device: str = "cpu", side: int = SIDE) -> Callable[[], object]:
    """Bare products of two square matrices, as many as PRODUCTS; `products_gflop` says how much work it is."""
    left, right = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    return lambda: [left @ right for _ in range(PRODUCTS)]


def products_gflop(side: int = SIDE) -> float:
    """Billions of floating-point operations of `products`."""
    return PRODUCTS * 2 * side**3 / 1e9
