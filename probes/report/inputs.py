"""What the stages left behind, read once and without judgement."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.manifest import is_complete, read_manifest
from probes.report.plans import Plans, read_plans
from probes.report.rows import Row, read_rows

STAGES = ("collect", "pretrain", "forecast", "plan", "probe")
OPTIONAL = ("encode",)
TRAINED = ("pretrain", "forecast")

Curves = dict[str, dict[int, float]]
"""By the name of a metric, its value at each step, in the order of steps."""


@dataclass(frozen=True)
class Runs:
    """A folder of runs.

    Attributes:
        folder: where they are.
        manifests: by stage, of those that are there and finished.
        absent: the other stages, each with whether it is "not there" or "unfinished".
        curves: by stage, of those that train.
        plans: what is in `plan`.
        probes: rows of `probe/results.jsonl`: model, step, metric, value, null, interval, n.
        drift: by name, an error of imagination at each step of it.
        strips: what the rows of an episode show in `probe/imagination.png`.
        dim: width of the latents, if known.
    """

    folder: Path
    manifests: dict[str, Row]
    absent: dict[str, str]
    curves: dict[str, Curves]
    plans: Plans
    probes: list[Row]
    drift: dict[str, list[float]]
    strips: list[str]
    dim: int | None

    @property
    def environment(self) -> str:
        """The world: where episodes were collected, or else what the data were that dynamics learned from."""
        sources = self.manifests.get("forecast", {}).get("data", {}).values()
        named = [self.manifests.get("collect", {}), *sources]
        return next((made["environment"] for made in named if made.get("environment")), "")

    def measured(self, model: str, metric: str) -> list[Row]:
        """What a metric gave for a model, in the order of training steps."""
        found = [row for row in self.probes if (row["model"], row["metric"]) == (model, metric)]
        return sorted(found, key=lambda row: -1 if row["step"] is None else row["step"])

    def final(self, model: str, metric: str) -> Row | None:
        """What a metric gave for a model at its last step."""
        rows = self.measured(model, metric)
        return rows[-1] if rows else None


def read_runs(folder: Path) -> Runs:
    """Read a folder of runs; of a stage's files only the manifest has to be there.

    Raises:
        UserError: if no stage is there and finished, one is another one, or a results file is malformed.
    """
    there = [stage for stage in (*STAGES, *OPTIONAL) if is_complete(folder / stage)]
    if not there:
        raise UserError(
            f"{folder} has no finished run of {', '.join(STAGES)} in a folder of that name; expected one or more, or "
            "the folder of a run of plan"
        )
    drift = folder / "probe" / "drift.json"
    imagined = read_json(drift) if drift.is_file() else {}
    manifests = {stage: read_manifest(folder / stage, stage) for stage in there}
    return Runs(
        folder=folder,
        manifests=manifests,
        absent={
            stage: "unfinished" if (folder / stage).exists() else "not there" for stage in STAGES if stage not in there
        },
        curves={stage: read_curves(folder / stage / "metrics.jsonl") for stage in TRAINED},
        plans=read_plans(folder / "plan"),
        probes=read_rows(folder / "probe" / "results.jsonl", {"model", "step", "metric", "value"}),
        drift=_numbers(imagined),
        strips=imagined.get("rows", ["real", "nearest"]),
        dim=manifests.get("probe", {}).get("dim"),
    )


def read_curves(path: Path) -> Curves:
    """Metrics of a training run over its steps, from JSON lines.

    Records of one step add up and later ones win, as a resumed run repeats some steps. A line that
    is torn, as a killed run leaves it, is skipped. Without the file there are no curves.
    """
    curves: Curves = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            continue
        for name, value in record.items():
            if name not in ("step", "epoch") and _is_number(value):
                curves.setdefault(name, {})[record["step"]] = float(value)
    return {name: dict(sorted(points.items())) for name, points in sorted(curves.items())}


def _numbers(fields: Row) -> dict[str, list[float]]:
    """The fields that are lists of numbers."""
    return {name: value for name, value in fields.items() if isinstance(value, list) and all(map(_is_number, value))}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
