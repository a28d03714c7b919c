"""What the stages left behind, read once and without judgement."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.manifest import is_complete, read_manifest

STAGES = ("collect", "pretrain", "forecast", "plan", "probe")
OPTIONAL = ("encode",)
CONTROLS = ("random", "noop", "expert", "replay", "cloned")
TRAINED = ("pretrain", "forecast")

Row = dict[str, Any]
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
        planning: rows of `plan/results.jsonl`: goal, policy, success, ci95, episodes …
        searches: by the kind of goal, the trace of the first plan in `plan/plan.json`.
        films: rows of `plan/films/index.json`: file, goal, sentence, success.
        probes: rows of `probe/results.jsonl`: model, step, metric, value, null, interval, n.
        drift: by name, an error of imagination at each step of it.
        strips: what the rows of an episode show in `probe/imagination.png`.
        dim: width of the latents, if known.
    """

    folder: Path
    manifests: dict[str, Row]
    absent: dict[str, str]
    curves: dict[str, Curves]
    planning: list[Row]
    searches: dict[str, dict[str, Tensor]]
    films: list[Row]
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

    def policy(self, goal: str, policy: str) -> Row | None:
        """The planning row of a control towards one kind of goal."""
        found = [row for row in self.planning if (row["goal"], row["policy"]) == (goal, policy)]
        return found[-1] if found else None

    def planned(self, goal: str) -> Row | None:
        """The planning row of the planner: the policy that is no control."""
        found = [row for row in self.planning if row["goal"] == goal and row["policy"] not in CONTROLS]
        return found[-1] if found else None

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
            f"{folder} has no finished run of {', '.join(STAGES)} in a folder of that name; expected one or more"
        )
    films = folder / "plan" / "films" / "index.json"
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
        planning=_read_rows(folder / "plan" / "results.jsonl", {"goal", "policy", "success"}),
        searches=_read_traces(folder / "plan" / "plan.json"),
        films=_checked(read_json(films), films, {"file", "goal", "success"}) if films.is_file() else [],
        probes=_read_rows(folder / "probe" / "results.jsonl", {"model", "step", "metric", "value"}),
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


def _read_rows(path: Path, keys: set[str]) -> list[Row]:
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: no JSON ({error}); run its stage again") from None
    return _checked(rows, path, keys)


def _read_traces(path: Path) -> dict[str, dict[str, Tensor]]:
    """Traces by the kind of goal, NaN where they hold None."""
    if not path.is_file():
        return {}
    try:
        return {
            goal: {name: torch.from_numpy(np.array(rows, np.float64)) for name, rows in trace.items()}
            for goal, trace in read_json(path).items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: expected tables of numbers ({error}); run its stage again") from None


def _checked(rows: Any, path: Path, keys: set[str]) -> list[Row]:
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        if not isinstance(row, dict) or not keys <= set(row):
            raise UserError(f"{path}, row {number}: expected an object with {', '.join(sorted(keys))}; got {row!r:.80}")
    return list(rows)


def _numbers(fields: Row) -> dict[str, list[float]]:
    """The fields that are lists of numbers."""
    return {name: value for name, value in fields.items() if isinstance(value, list) and all(map(_is_number, value))}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
