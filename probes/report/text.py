"""Numbers as people read them."""

import math
from collections.abc import Callable, Sequence

MISSING = "–"


def number(value: float | None) -> str:
    """Three decimals; one from 10 upwards; none from 1000."""
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    text = f"{value:,.{0 if size >= 1000 else 1 if size >= 10 else 3}f}"
    return text.replace("-", "−")


def percent(value: float | None) -> str:
    """A fraction as percent with one decimal."""
    return MISSING if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def interval(bounds: Sequence[float] | None, form: Callable[[float], str] = number) -> str:
    """Both ends of an interval."""
    return MISSING if bounds is None else f"{form(bounds[0]).removesuffix(' %')} to {form(bounds[1])}"


def duration(seconds: float | None) -> str:
    """Seconds as minutes and seconds."""
    if seconds is None:
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def gib(value: float | None) -> str:
    """Memory."""
    return MISSING if value is None else f"{value:.2f} GiB"


def count(value: int | None) -> str:
    """A whole number with separators."""
    return MISSING if value is None else f"{value:,}"
