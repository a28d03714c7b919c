"""How often plans succeed after how much training: `python -m benchmarks.success`, after these demos or some of them.

    jepa-wm demo                                              # the two rooms
    jepa-wm demo --preset doors --out runs/doors              # with a door anywhere
    jepa-wm demo --preset push_t --out runs/push_t            # Push-T
    python -m benchmarks.amortised                            # for the two rooms' proposal, which is cloned behaviour
    jepa-wm forecast --config two_rooms/amortise --run runs/doors/amortise --source runs/doors/forecast \\
        --data.folder runs/doors/collect                      # the same for a door anywhere

Reads what `plan` of these demos counted, and plays the image goals of each again with the models that training left
behind on its way: success over minutes of training, beside the random floor. Writes a section of docs/results.md, and
docs/success.json, where the figures of each demo stay with the machine that they are from until it is run again; the
last line is JSON.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.kept import kept
from benchmarks.tables import RESULTS, ROOT, machine, markdown, replace_section
from jepa_wm.checkpoint import build, spec
from jepa_wm.contracts import Planner
from jepa_wm.control.controller import Controller
from jepa_wm.control.goal_kinds import read_goals
from jepa_wm.control.match import Match
from jepa_wm.control.results import RESULTS as ROWS
from jepa_wm.files import read_json, write_json
from jepa_wm.manifest import identity, is_complete, read_manifest
from jepa_wm.planning import Amortised
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

DEMOS = {"two rooms": "runs/demo", "two rooms, door anywhere": "runs/doors", "Push-T": "runs/push_t"}
TOPS = "expert", "replay"
KEPT = ROOT / "docs" / "success.json"


def minutes(demo: Path) -> tuple[float, float]:
    """Of what comes before the forecasting, pretraining and perhaps encoding, and of the forecasting."""
    stages = [stage for stage in ("pretrain", "encode", "forecast") if is_complete(demo / stage)]
    *before, last = (read_manifest(demo / stage, stage)["seconds"] / 60 for stage in stages)
    return sum(before), last


def rows_of(demo: Path) -> dict[str, dict[str, Any]]:
    """The success of each kind of goal, as its demo counted it.

    Where there is a model with a proposal beside it, this plays the demo's image goals, too.
    """
    found: dict[str, dict[str, Any]] = {}
    for line in map(json.loads, (demo / "plan" / ROWS).read_text().splitlines()):
        found.setdefault(line["goal"], {})[line["policy"]] = line
    if is_complete(demo / "amortise"):
        found["image"]["cloned"] = cached(demo, "cloned", demo / "amortise", Amortised())
    name = planner_of(demo)[0]
    return {goal: row_of(each, name, sum(minutes(demo))) for goal, each in found.items()}


def planner_of(demo: Path) -> tuple[str, Search]:
    """The name of the row of what was planned, and the search."""
    search = build(read_manifest(demo / "plan", "plan")["config"]["search"])
    return type(search.planner).__name__.lower(), search


def row_of(policies: dict[str, dict[str, Any]], planned: str, trained: float) -> dict[str, Any]:
    """A table's row: what was planned, beside floors and ceiling."""
    rates = {policy: f"{row['success']:.0%}" for policy, row in policies.items()}
    last = policies[planned]["success_last"]
    return {
        "success": told(policies[planned]),
        "at the last step": "" if last is None else f"{last:.1%}",
        "random": rates["random"],
        "no-op": rates["noop"],
        "proposal alone": rates.get("cloned", ""),
        "expert or replay": "".join(rate for policy, rate in rates.items() if policy in TOPS),
        "episodes": policies[planned]["episodes"],
        "minutes of training": f"{trained:.0f}",
    }


def told(row: dict[str, Any]) -> str:
    """A success with its interval."""
    low, high = row["ci95"]
    return f"{row['success']:.1%} [{low:.1%}, {high:.1%}]"


def curve(demo: Path) -> dict[str, str]:
    """The success towards the demo's image goals over minutes of training, by the snapshots of the forecasting."""
    folders = sorted((demo / "forecast" / "checkpoints").glob("step-*"))
    last, (before, length) = int(folders[-1].name[5:]), minutes(demo)
    found = {}
    for folder in folders:
        row = cached(demo, folder.name, folder, planner_of(demo)[1].planner)
        found[f"{before + length * int(folder.name[5:]) / last:.1f} min"] = told(row)
    return found


def cached(demo: Path, name: str, folder: Path, planner: Planner) -> dict[str, Any]:
    """The row of a model, played unless it was before."""
    of = {"model": identity(folder), "plan": identity(demo / "plan"), "planner": spec(planner)}
    return kept(
        demo / "success" / f"{name}.json", of, lambda: played(demo, WorldModel.from_pretrained(folder), planner)
    )


def played(demo: Path, model: WorldModel, planner: Planner) -> dict[str, Any]:
    """The row of a model towards the demo's image goals, by the demo's search with this planner."""
    config = read_manifest(demo / "plan", "plan")["config"]
    (name, search), settings = planner_of(demo), read_manifest(demo / "collect", "collect")["config"]
    search = replace(search, planner=planner)
    goals = read_goals(str(demo / "plan"), settings["environment"], "image")
    match = Match(goals, settings["size"], config["steps"], config["check"], config["stop"], config["parallel"])
    planned = match.planned(name, lambda goal, world: Controller(model, goal, search), 0)
    return match.rows(name, planned.outcome)[0]


def text_of(figures: dict[str, dict[str, Any]]) -> str:
    """The section: a table, curves, and what was measured on what."""
    rows = {f"{name}, {goal}": row for name, demo in figures.items() for goal, row in demo["rows"].items()}
    curves = [
        f"- {name}: {', '.join(f'{at} {rate}' for at, rate in demo['curve'].items())}"
        for name, demo in figures.items()
        if demo["curve"]
    ]
    machines = [f"- {name}: {demo['machine']}" for name, demo in figures.items()]
    over = "Image goals over minutes of training, the first without any forecasting:"
    return "\n".join([markdown("goals", rows), "", over, "", *curves, "", "Measured on:", "", *machines])


def main() -> None:
    """Read, play, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", nargs="*", choices=DEMOS, default=[*DEMOS], help="demos whose snapshots play, too")
    arguments = parser.parse_args()
    figures = read_json(KEPT)
    for name, demo in ((name, Path(folder)) for name, folder in DEMOS.items()):
        if (demo / "plan" / ROWS).is_file():
            curves = curve(demo) if name in arguments.curves else {}
            figures[name] = {"rows": rows_of(demo), "curve": curves, "machine": machine()}
    write_json(KEPT, figures)
    replace_section(RESULTS, "success", text_of(figures))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
