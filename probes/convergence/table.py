"""Measurements as rows of one table: JSON for people, Parquet for tools."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from jepa_wm.files import atomic_path, write_json


class Row(NamedTuple):
    """One measurement; what it does not have is None.

    Attributes:
        kind: alignment (the best layer pair of two checkpoints), layers (one cell of their map), k sweep, n sweep,
            share sweep (n, at one k / n), probe, health or spectrum.
        metric: what was measured.
        model: of which model.
        step: at which step of its training.
        share: at which share of it, in percent.
        layer: of which layer.
        other, other_step, other_layer: the same of the second model of an alignment.
        value: the measurement.
        null: its expectation where nothing is shared.
        null_sd: the standard deviation of the null.
        z: how many of these the value is above it.
        p: chance of as high a value under the null, corrected for the layer pairs that were searched.
        effect: what of the way from the null to the highest possible value was gone.
        low, high: an interval of 95 %.
        n: samples.
        k: neighbours, where there are any.
        rank: the place in a spectrum, from 1.
    """

    kind: str
    metric: str
    model: str
    step: int | None = None
    share: int | None = None
    layer: str | None = None
    other: str | None = None
    other_step: int | None = None
    other_layer: str | None = None
    value: float | None = None
    null: float | None = None
    null_sd: float | None = None
    z: float | None = None
    p: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    k: int | None = None
    rank: int | None = None


def write_table(folder: Path, rows: list[Row], fields: dict[str, Any]) -> None:
    """Write results.json, where `fields` go too, and results.parquet; no number in them is NaN."""
    import pyarrow
    import pyarrow.parquet

    kept = [{name: _finite(value) for name, value in row._asdict().items()} for row in rows]
    write_json(folder / "results.json", {**fields, "rows": [_short(row) for row in kept]})
    types = {int | None: pyarrow.int64(), float | None: pyarrow.float64()}
    schema = pyarrow.schema([(name, types.get(kind, pyarrow.string())) for name, kind in Row.__annotations__.items()])
    with atomic_path(folder / "results.parquet") as aside:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(kept, schema=schema), aside)


def read_table(folder: Path) -> tuple[list[Row], dict[str, Any]]:
    """The rows of results.json, and its other fields."""
    fields = json.loads((folder / "results.json").read_text())
    return [Row(**row) for row in fields.pop("rows")], fields


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
