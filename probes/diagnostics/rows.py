"""Rows of results: a score over whole episodes, under a metric's name and a control's."""

from typing import Any

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.statistics import interval, resample_groups

Row = dict[str, Any]
"""metric, control ("model" for the model itself), step (None where there is none), and the parts of a `Score`."""


def row(metric: str, score: Score, control: str = "model", step: int | None = None) -> Row:
    """A score as JSON values."""
    return {"metric": metric, "control": control, "step": step, **score._asdict(), "interval": list(score.interval)}


def counts(episodes: int, seed: int = 0) -> Tensor:
    """How often each of E episodes is in each draw of a bootstrap, float64 (draws, E)."""
    each = torch.eye(episodes, dtype=torch.float64)
    return resample_groups(each, torch.arange(episodes), torch.Generator().manual_seed(seed))


def ratio(above: Tensor, below: Tensor, null: float, seed: int = 0) -> Score:
    """Sum of `above` (E,) over sum of `below` (E,), with an interval over resampled episodes.

    Both are resampled together. 0 where nothing is below. Draws without anything below are left out.
    """
    pairs = torch.stack([above, below], dim=1).double()
    sums = counts(len(pairs), seed) @ pairs
    sums = sums[sums[:, 1] > 0]
    total = pairs.sum(dim=0)
    if total[1] <= 0:
        return Score(0.0, null, (0.0, 0.0), len(pairs))
    return Score((total[0] / total[1]).item(), null, interval(sums[:, 0] / sums[:, 1]), len(pairs))


def mean(values: Tensor, null: float, seed: int = 0) -> Score:
    """Mean of values (E,), with an interval over resampled episodes."""
    return ratio(values, torch.ones_like(values), null, seed)


def table(rows: list[Row]) -> str:
    """Rows as a table in plain text."""
    lines = [("metric", "control", "step", "value", "null", "95 %", "n")]
    for each in rows:
        low, high = each["interval"]
        step = "" if each["step"] is None else str(each["step"])
        numbers = (f"{each['value']:.3f}", f"{each['null']:.3f}", f"{low:.3f} to {high:.3f}")
        lines.append((each["metric"], each["control"], step, *numbers, str(each["n"])))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
