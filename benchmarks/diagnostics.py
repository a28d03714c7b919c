"""Whether the demo's model is one of its world: `python -m benchmarks.diagnostics`, after `make demo`.

Runs `jepa-wm probe world` unless that is done, and writes the model's figures beside their nulls and controls into
docs/results.md: of those over the horizon the last step, of surprise the greatest of a clip. The last line is JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.tables import RESULTS, machine, markdown, replace_section
from benchmarks.verbs import verb
from jepa_wm.files import read_json

MODEL = "model"
LEFT_OUT = ("_mean_accuracy", "_mean_auroc", "_max_accuracy", "rankme", "rank", "ratio", "nesum", "uniformity", "mrr")
"""Ends of the names of metrics that say again what others say, or stand in the demo's own table."""


def asked(demo: Path, out: Path) -> list[dict[str, Any]]:
    """The rows that the verb wrote."""
    where = [f"--model={demo / 'forecast'}", f"--data={demo / 'collect'}", f"--out={out}"]
    verb("probe", "world", *where, quiet=True)
    found: list[dict[str, Any]] = read_json(out / "diagnostics.json")["rows"]
    return found


def shown(rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """A line for each metric: the model, what a guess scores, and each control."""
    lines: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not row["metric"].endswith(LEFT_OUT):
            lines.setdefault(row["metric"], {})[row["control"]] = row  # The last step is written last.
    return {metric: _line(controls) for metric, controls in lines.items()}


def _line(controls: dict[str, dict[str, Any]]) -> dict[str, str]:
    own = controls[MODEL]
    beside = {name: row["value"] for name, row in controls.items() if name != MODEL and row["value"] is not None}
    return {
        "model": f"{own['value']:.2f} [{own['interval'][0]:.2f}, {own['interval'][1]:.2f}]",
        "a guess": f"{own['null']:.2f}",
        "controls": ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in beside.items()),
    }


def main() -> None:
    """Ask, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    arguments = parser.parse_args()
    rows = asked(arguments.demo, arguments.demo / "world")
    lines = shown(rows)
    replace_section(RESULTS, "diagnostics", f"{markdown('metric', lines)}\n\n{machine()}")
    print(json.dumps({metric: line["model"] for metric, line in lines.items()}))


if __name__ == "__main__":
    main()
