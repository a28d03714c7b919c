"""Intervals that rooms with nothing else in common share."""

from math import sqrt


def wilson(successes: float, n: int, z: float = 1.96) -> tuple[float, float]:
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
