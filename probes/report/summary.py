"""The main figures: as JSON, and as a table for the terminal."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from jepa_wm.processor import processor
from probes.report.inputs import Runs
from probes.report.plans import CONTROLS
from probes.report.rows import Row
from probes.report.text import MISSING, duration, gib, interval, number, percent


def summarise(runs: Runs) -> dict[str, Any]:
    """The main figures; rates are fractions, times seconds, and what was not measured is None. The total of seconds is
    that of the stages that are there; `absent` names the others.

    The probes, the retrieval and the health are those of the last forecast encoder.
    """
    position = runs.final("forecast", "position_r2")
    recall = runs.final("forecast", "recall_at_1")
    return {
        "planning": {goal: _planning(runs, goal) for goal in ("image", "text")},
        "probe": {
            "position_r2": _get(position, "value"),
            "ci95": _get(position, "interval"),
            "shuffled_r2": _get(position, "null"),
            "random_init_r2": _get(runs.final("random_init", "position_r2"), "value"),
            "pixels_r2": _get(runs.final("pixels", "position_r2"), "value"),
        },
        "retrieval": {
            "recall_at_1": _get(recall, "value"),
            "ci95": _get(recall, "interval"),
            "chance": _get(recall, "null"),
        },
        "health": {
            **{name: _get(runs.final("forecast", name), "value") for name in ("rankme", "spread_min", "spread_median")},
            "dim": runs.dim,
        },
        "absent": runs.absent,
        "seconds": _seconds(runs),
        "peak_rss_gib": max((m["peak_rss_gib"] for m in runs.manifests.values() if "peak_rss_gib" in m), default=None),
        **_provenance(runs),
    }


def _planning(runs: Runs, goal: str) -> Row:
    planned = runs.plans.planned(goal)
    rates = ("success", "success_any", "success_last", "ci95")
    names = (*rates, "episodes", "sources", "excluded", "evaluations", "seconds_per_plan", "seconds_each")
    return {
        **{name: _get(planned, name) for name in names},
        **{policy: _get(runs.plans.policy(goal, policy), "success") for policy in CONTROLS},
    }


def _seconds(runs: Runs) -> Row:
    seconds = {stage: _get(manifest, "seconds") for stage, manifest in runs.manifests.items()}
    known = [value for value in seconds.values() if value is not None]
    # A sum that leaves a stage out would look like a faster run.
    return {**seconds, "total": round(sum(known), 2) if len(known) == len(seconds) else None}


def _provenance(runs: Runs) -> Row:
    commits = {manifest["commit"] for manifest in runs.manifests.values() if manifest.get("commit")}
    last = list(runs.manifests.values())[-1]
    return {
        "commit": ", ".join(sorted(commits)) or None,
        "python": last.get("python"),
        "versions": last.get("versions"),
        "machine": {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "cpu_count": os.cpu_count(),
            "platform": f"{platform.system()}, {processor()}",
        },
    }


def _get(row: Row | None, name: str) -> Any:
    value = None if row is None else row.get(name)
    values = value if isinstance(value, list) else [value]
    # JSON has no NaN and no infinity.
    return None if any(isinstance(v, float) and not math.isfinite(v) for v in values) else value


def summary_table(summary: dict[str, Any]) -> str:
    """The main figures of a `summary.json` as plain text: value, 95 % interval, controls.

    Goals in words and retrieval have a line where they were measured, which they are not in every world.
    """
    planning, probe, retrieval = summary["planning"], summary["probe"], summary["retrieval"]
    image, text = planning["image"], planning["text"]
    rows = [
        ("image goals reached", percent(image["success"]), interval(image["ci95"], percent), _controls(image)),
        ("text goals reached", percent(text["success"]), interval(text["ci95"], percent), _controls(text)),
        (
            "position R²",
            number(probe["position_r2"]),
            interval(probe["ci95"]),
            f"random init {number(probe['random_init_r2'])}, pixels {number(probe['pixels_r2'])}",
        ),
        (
            "text→image recall@1",
            percent(retrieval["recall_at_1"]),
            interval(retrieval["ci95"], percent),
            f"chance {percent(retrieval['chance'])}",
        ),
        ("RankMe", number(summary["health"]["rankme"]), MISSING, f"of {summary['health']['dim'] or MISSING}"),
        ("time", duration(summary["seconds"]["total"]), MISSING, f"peak memory {gib(summary['peak_rss_gib'])}"),
    ]
    optional = {"text goals reached": text["success"], "text→image recall@1": retrieval["recall_at_1"]}
    shown = [row for row in rows if row[0] not in optional or optional[row[0]] is not None]
    table = _columns([("", "value", "95 % interval", "beside it"), *shown])
    return f"{table}\nwithout {told(summary['absent'])}" if summary.get("absent") else table


def told(absent: Mapping[str, str]) -> str:
    """The stages that a report is without, in words."""
    return ", ".join(f"{stage} ({state})" for stage, state in absent.items())


def _controls(row: Row) -> str:
    shown = [f"{name} {percent(row[name])}" for name in CONTROLS if row[name] is not None]
    return ", ".join([*still_met(row), *shown, f"{row['episodes'] or MISSING} episodes"])


def still_met(row: Row) -> list[str]:
    """How many goals were met at the last step, too, where that is known and another number."""
    last = row["success_last"]
    return [f"at the last step {percent(last)}"] if last is not None and last != row["success"] else []


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, value, bounds, beside in rows:
        lines.append(f"{first:{widths[0]}}  {value:>{widths[1]}}  {bounds:>{widths[2]}}  {beside}".rstrip())
    return "\n".join(lines)
