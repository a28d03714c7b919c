"""Schedules: pure functions of progress in [0, 1]."""

import math


def warmup_cosine(progress: float, warmup: float = 0.05, final: float = 0.0) -> float:
    """A factor that rises linearly to 1 over `warmup`, then falls along a cosine to `final`."""
    if progress < warmup:
        return progress / warmup
    fraction = (progress - warmup) / max(1.0 - warmup, 1e-12)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(fraction, 1.0)))


def linear(progress: float, start: float, end: float) -> float:
    """From `start` to `end`, in proportion to `progress`."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)
