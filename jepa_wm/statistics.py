"""Intervals that rooms with nothing else in common share."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

NORMAL = 1.96
"""Standard errors on either side of an interval of 95 %."""


def wilson(successes: float, n: float, z: float = NORMAL) -> tuple[float, float]:
    """Wilson score interval of a rate: `successes` of `n` independent trials, at `z` standard errors.

    Never leaves [0, 1] and never has zero width, also at rates of 0 and 1; with no trials it is (0, 1).

    Raises:
        ValueError: successes are not within 0 and n.

    Source: Wilson 1927, without continuity correction.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"got {successes} successes in {n} trials; expected 0 <= successes <= trials")
    if n == 0:
        return 0.0, 1.0
    rate, spread = successes / n, z * z / n
    centre = rate + spread / 2
    half = sqrt(spread * rate * (1 - rate) + spread * spread / 4)
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    # Rounding must not push a rate of 0 or 1 out of its own interval.
    return max(0.0, min(rate, low)), min(1.0, max(rate, high))


def rate_interval(hits: np.ndarray, groups: Sequence[Any] | np.ndarray) -> tuple[float, float]:
    """Interval of 95 % of a rate: hits bool (n,) in groups (n,), within which trials may resemble each other.

    Wilson's, of as many trials as `effective_size` finds; Wilson's itself where each trial is a group.
    """
    size = effective_size(hits, groups)
    return wilson(float(np.mean(hits)) * size, size)


def effective_size(values: np.ndarray, groups: Sequence[Any] | np.ndarray) -> float:
    """How many independent values would tell the mean as well as values (n,) in groups (n,) do: at most n.

    It is n over the design effect: by how much the sums of whole groups spread more than those of independent values
    would. It is taken down further by Student's factor, since few groups tell their own spread badly. Groups that all
    agree tell nothing of it; each then counts once.

    Source: Korn & Graubard 1998, with the design effect kept from narrowing an interval.
    """
    values = np.asarray(values, np.float64)
    index, n = np.unique(np.asarray(groups), return_inverse=True)[1], len(values)
    count = int(index.max()) + 1 if n else 0
    away = values - values.mean() if n else values
    if count in (n, 1) or not away.any():
        return float(count)
    ratio = float((np.bincount(index, away) ** 2).sum() / (away**2).sum())
    design = max(1.0, ratio * count / (count - 1) * (n - 1) / n)
    return n / design * (student(n - 1) / student(count - 1)) ** 2


def student(freedom: int, z: float = NORMAL) -> float:
    """Student's quantile where the normal one is `z`: within 1 % of the true one from 3 degrees of freedom.

    Source: the Cornish-Fisher expansion, Abramowitz & Stegun 26.7.5.
    """
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def holm(chances: Sequence[float]) -> list[float]:
    """p-values of a family of tests, so adjusted that one below .05 is found by chance in one family of twenty at most.

    Source: Holm 1979.
    """
    adjusted, worst = [0.0] * len(chances), 0.0
    for rank, number in enumerate(np.argsort(chances, kind="stable").tolist()):
        worst = max(worst, min(1.0, (len(chances) - rank) * chances[number]))
        adjusted[number] = worst
    return adjusted
