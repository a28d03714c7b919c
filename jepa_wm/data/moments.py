"""Mean and standard deviation of rows that arrive in parts."""

from typing import Any, NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Count, mean and summed squared deviation of rows (n, D), in float64; parts add up.

    Counts need not be whole: in a mixture rows have weights.

    Source: Chan, Golub and LeVeque, 1979; unlike a sum of squares it keeps its digits where the mean is large.
    """

    rows: float = 0
    mean: Any = 0.0
    deviation: Any = 0.0

    @classmethod
    def of(cls, rows: np.ndarray) -> "Moments":
        """The moments of `rows` (n, D)."""
        if not len(rows):
            return cls(0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1]))
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        return cls(len(rows), mean, np.square(rows - mean).sum(axis=0))

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets of rows together."""
        rows = self.rows + other.rows
        if not self.rows or not rows:
            return other
        step = other.mean - self.mean
        mean = self.mean + step * (other.rows / rows)
        deviation = self.deviation + other.deviation + np.square(step) * (self.rows * other.rows / rows)
        return Moments(rows, mean, deviation)

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each column (D,), of the population."""
        return np.sqrt(np.asarray(self.deviation) / (self.rows or 1))


def to_statistics(moments: dict[str, Moments]) -> dict[str, Any]:
    """What a manifest holds of moments: `<name>_rows`, `<name>_mean` and `<name>_std`, as JSON values."""
    return {
        key: value
        for name, part in moments.items()
        for key, value in (
            (f"{name}_rows", round(part.rows)),
            (f"{name}_mean", np.asarray(part.mean).tolist()),
            (f"{name}_std", part.std.tolist()),
        )
    }


def from_statistics(statistics: dict[str, Any], name: str) -> Moments:
    """The moments that `to_statistics` wrote down under `name`."""
    rows, std = int(statistics[f"{name}_rows"]), np.array(statistics[f"{name}_std"], np.float64)
    return Moments(rows, np.array(statistics[f"{name}_mean"], np.float64), np.square(std) * rows)
