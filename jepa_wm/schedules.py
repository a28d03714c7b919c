"""Schedules: values as pure functions of progress in [0, 1], for learning rate, weight decay and moving averages."""

import math
from collections.abc import Callable

from jepa_wm.errors import UserError

Schedule = Callable[[float], float]
"""Progress -> value."""


class Constant:
    """The same `value` always."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, progress: float) -> float:
        """The value."""
        return self.value


class Linear:
    """From `start` to `end`, in proportion to progress."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end

    def __call__(self, progress: float) -> float:
        """The value at `progress`, which counts as 0 or 1 beyond them."""
        return self.start + (self.end - self.start) * min(max(progress, 0.0), 1.0)


class Ramp:
    """`start` up to the share `begin` of the training, then linearly to `end`, which it has from `until` on.

    Raises:
        UserError: if `begin` is not before `until`.
    """

    def __init__(self, start: float, end: float, begin: float, until: float) -> None:
        if not begin < until:
            raise UserError(f"Ramp: got begin {begin:g} and until {until:g}; expected the first before the second")
        self.start, self.end, self.begin, self.until = start, end, begin, until

    def __call__(self, progress: float) -> float:
        """The value at `progress`."""
        return Linear(self.start, self.end)((progress - self.begin) / (self.until - self.begin))


class Cosine:
    """From `start` to `end` along half a cosine.

    Args:
        start: value at the beginning.
        end: value at the end of the cosine.
        stretch: the cosine is that of a training this much longer, cut off at the end (I-JEPA's `ipe_scale`).

    Raises:
        UserError: if `stretch` is below 1.
    """

    def __init__(self, start: float, end: float, stretch: float = 1.0) -> None:
        _check_stretch("Cosine.stretch", stretch)
        self.start, self.end, self.stretch = start, end, stretch

    def __call__(self, progress: float) -> float:
        """The value at `progress`, which counts as 0 or 1 beyond them."""
        turned = 0.5 * (1.0 - math.cos(math.pi * min(max(progress, 0.0), 1.0) / self.stretch))
        return self.start + (self.end - self.start) * turned


class WarmupCosine:
    """Linearly from `start` to `peak` over the first share `warmup`, then along a cosine to `final`.

    Args:
        peak: the highest value.
        warmup: share of the training in which it rises.
        start: value at the beginning.
        final: value at the end.
        stretch: the cosine is that of a training this much longer, cut off at the end (I-JEPA's `ipe_scale`).

    Raises:
        UserError: if `warmup` is not in [0, 1), or `stretch` below 1.
    """

    def __init__(
        self, peak: float, warmup: float = 0.05, start: float = 0.0, final: float = 0.0, stretch: float = 1.0
    ) -> None:
        _check_share("WarmupCosine.warmup", warmup)
        _check_stretch("WarmupCosine.stretch", stretch)
        self.peak, self.warmup, self.start, self.final, self.stretch = peak, warmup, start, final, stretch

    def __call__(self, progress: float) -> float:
        """The value at `progress`."""
        if progress < self.warmup:
            return Linear(self.start, self.peak)(progress / self.warmup)
        return Cosine(self.peak, self.final)((progress - self.warmup) / (self.stretch - self.warmup))


class WarmupConstantCooldown:
    """Linearly from `start` to `peak`, constant, and linearly to `final` at the end (V-JEPA 2).

    Args:
        peak: the highest value.
        warmup: share of the training in which it rises.
        cooldown: share of the training in which it falls.
        start: value at the beginning.
        final: value at the end.

    Raises:
        UserError: if `warmup` or `cooldown` is not in [0, 1), or both together exceed 1.
    """

    def __init__(
        self, peak: float, warmup: float = 0.05, cooldown: float = 0.05, start: float = 0.0, final: float = 0.0
    ) -> None:
        _check_share("WarmupConstantCooldown.warmup", warmup)
        _check_share("WarmupConstantCooldown.cooldown", cooldown)
        if warmup + cooldown > 1.0 + 1e-9:
            raise UserError(f"WarmupConstantCooldown: warmup + cooldown is {warmup + cooldown:g}; expected 1 at most")
        self.peak, self.warmup, self.cooldown, self.start, self.final = peak, warmup, cooldown, start, final

    def __call__(self, progress: float) -> float:
        """The value at `progress`."""
        if progress < self.warmup:
            return Linear(self.start, self.peak)(progress / self.warmup)
        if progress <= 1.0 - self.cooldown:
            return self.peak
        return Linear(self.final, self.peak)((1.0 - progress) / self.cooldown)


def _check_share(name: str, share: float) -> None:
    if not 0.0 <= share < 1.0:
        raise UserError(f"{name}: got {share:g}; expected a share of the training, 0 up to but not including 1")


def _check_stretch(name: str, stretch: float) -> None:
    if stretch < 1.0:
        raise UserError(f"{name}: got {stretch:g}; expected 1 or more")
