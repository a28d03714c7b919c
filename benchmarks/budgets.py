"""How often each planner succeeds for what it spends: `python -m benchmarks.budgets`, after `make demo`.

In the two rooms, on the same goal images for all: every planner of `jepa_wm.planning` for continuous actions without
constraints, with every budget of candidates judged a plan, otherwise by the demo's search. A planner's samples a round
are a share of the budget, the rest of it is as it comes. Plans start from the last plan shifted; as a control, CEM
starts anew every time. The model is the demo's with the proposal of `benchmarks.amortised`, which some planners start
from. Episodes play on after their goals, so that the last step counts, too. The seconds are of one plan of one
environment, medians of three, measured when all is played. Writes docs/budgets.svg and a section of docs/results.md; a
cell that is there is not played again.
"""

import argparse
import inspect
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.amortised import train
from benchmarks.success import planner_of
from benchmarks.tables import RESULTS, ROOT, machine, markdown, replace_section
from jepa_wm import planning
from jepa_wm.allocator import keep_freed_memory
from jepa_wm.contracts import Budget, Planner
from jepa_wm.control.controller import Controller
from jepa_wm.control.evaluate import make_world, play
from jepa_wm.control.goals import HELD_OUT, GoalSet
from jepa_wm.control.two_rooms_goals import RoomGoals
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, read_json, write_json
from jepa_wm.manifest import read_manifest
from jepa_wm.observations import Observation
from jepa_wm.search import Search
from jepa_wm.statistics import rate_interval
from jepa_wm.world_model import WorldModel
from probes.report.charts import PALETTE, Line, Panel, small_multiples, standalone

BUDGETS = (4, 8, 16, 32, 64, 128, 320, 640)
STEPS, ROUNDS = 100, 5
COLD = "CEM, from nothing"
COUNTED = {"any": "at any step", "last": "at the last step"}
STYLES = ("-", "--")
LEFT_OUT = ("CategoricalCEM", "AugmentedLagrangian")
"""What is for discrete actions, and what is the search that it is built around where nothing is forbidden."""

Cells = dict[str, dict[int, dict[str, Any]]]


class ColdController(Controller):
    """A controller that forgets its last plan."""

    def _search(self, seen: Observation, due: Tensor) -> None:
        self._plans[due] = self._middle
        super()._search(seen, due)


def names() -> list[str]:
    """What is compared."""
    return [COLD, *(name for name in planning.__all__ if name not in LEFT_OUT)]


def sized(name: str, evaluations: int) -> Planner:
    """A planner whose rounds are a share of its budget."""
    kind = planning.CEM if name == COLD else getattr(planning, name)
    asked, samples = inspect.signature(kind).parameters, max(evaluations // ROUNDS, 8)
    sizes = {"samples": samples, "elites": max(samples // 8, 2), "restarts": max(samples // 8, 1)}
    planner: Planner = kind(**{size: value for size, value in sizes.items() if size in asked})
    return planner


def limited(search: Search, name: str, evaluations: int) -> Search:
    """The demo's search by another planner, with a budget."""
    return replace(search, planner=sized(name, evaluations), budget=Budget(evaluations))


def played(model: WorldModel, goals: GoalSet, size: int, search: Search, name: str) -> dict[str, Any]:
    """The cell of a planner and a budget: success at any step and at the last, each with its interval."""
    world = make_world(goals, size)
    controller = (ColdController if name == COLD else Controller)(model, goals.wanted(world), search)
    outcome = play(world, goals, controller.act, STEPS, False, name)
    solved = {"any": outcome.ever, "last": outcome.last}
    return {kind: [float(each.mean()), *rate_interval(each, goals.sources)] for kind, each in solved.items()}


def seconds(model: WorldModel, goals: GoalSet, size: int, search: Search) -> float:
    """Of one plan in the first episode, a median of three."""
    world = make_world(goals, size)
    observation, _ = world.reset(seed=0, options=goals.reset_options())
    first = torch.arange(len(goals.state)) == 0
    seen, state = (torch.from_numpy(np.asarray(observation[key])) for key in ("pixels", "state"))
    wanted, taken = goals.wanted(world).of(first), []
    for _ in range(4):
        start = time.perf_counter()
        model.plan(seen[first], wanted, search, state=state[first])
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def cells(out: Path, model: WorldModel, goals: GoalSet, size: int, search: Search, budgets: list[int]) -> Cells:
    """Every planner's cells by budget; those that were played before are read."""
    found: Cells = {}
    for name in names():
        for evaluations in budgets:
            file = out / name.replace(", ", "-").replace(" ", "-") / f"{evaluations}-{len(goals.state)}.json"
            if not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    write_json(file, played(model, goals, size, limited(search, name, evaluations), name))
                except UserError as error:
                    print(f"{name} is left out: {error}", flush=True)
                    break
            found.setdefault(name, {})[evaluations] = read_json(file)
            print(name, evaluations, found[name][evaluations], flush=True)
    return found


def rows_of(found: Cells, kind: str) -> dict[str, dict[str, str]]:
    """A table's rows: of each planner and budget the success and its interval."""
    return {
        name: {f"{count}": "{:.0%} [{:.0%}, {:.0%}]".format(*cell[kind]) for count, cell in each.items()}
        for name, each in found.items()
    }


def times_of(found: Cells) -> dict[str, dict[str, str]]:
    """A table's rows: of each planner and budget the milliseconds of a plan."""
    return {
        name: {f"{count}": f"{1e3 * cell['seconds']:.0f}" for count, cell in each.items()}
        for name, each in found.items()
    }


def fewest(found: Cells, kind: str) -> str:
    """The least that each planner spends in a cell whose interval overlaps that of the best."""
    best = max((cell[kind] for each in found.values() for cell in each.values()), key=lambda rate: rate[0])
    enough = {
        name: cells
        for name, each in found.items()
        if (cells := {count: cell for count, cell in each.items() if cell[kind][2] >= best[1]})
    }
    candidates = {name: min(cells) for name, cells in enough.items()}
    times = {name: round(1e3 * min(cell["seconds"] for cell in cells.values())) for name, cells in enough.items()}
    told = ", ".join(f"{name} {least}" for name, least in sorted(candidates.items(), key=lambda item: item[1]))
    soon = ", ".join(f"{name} {least} ms" for name, least in sorted(times.items(), key=lambda item: item[1]))
    return (
        f"Fewest candidates a plan whose interval overlaps that of the best success {COUNTED[kind]}, {best[0]:.0%}: "
        f"{told}. Least time of such a plan: {soon}."
    )


def chart(found: Cells) -> str:
    """An SVG of the success of every planner in per cent, over candidates and over milliseconds of a plan."""
    panels = []
    for kind, counted in COUNTED.items():
        for over in ("candidates", "milliseconds"):
            lines = []
            for number, (name, each) in enumerate(found.items()):
                points = {
                    count if over == "candidates" else round(1e3 * cell["seconds"]): 100 * cell[kind][0]
                    for count, cell in each.items()
                }
                style = STYLES[number // len(PALETTE) % len(STYLES)]
                lines.append(Line(name, dict(sorted(points.items())), PALETTE[number % len(PALETTE)], style))
            panels.append(Panel(f"success in % {counted}, over {over}", lines, scale="doubling"))
    return standalone(small_multiples(panels, "success of planners over what a plan spends", "a plan", 2, (4.4, 3.0)))


def main() -> None:
    """Play, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("runs/budgets"))
    parser.add_argument("--goals", type=int, default=100)
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--play_only", action="store_true", help="measure no times, leave the documents as they are")
    arguments = parser.parse_args()
    keep_freed_memory()
    model, search = WorldModel.from_pretrained(train(arguments.demo)), planner_of(arguments.demo)[1]
    data = arguments.demo / "collect"
    goals, size = RoomGoals.draw(str(data), arguments.goals, HELD_OUT), read_manifest(data, "collect")["config"]["size"]
    found = cells(arguments.out, model, goals, size, search, arguments.budgets)
    if arguments.play_only:
        return
    for name, each in found.items():
        for evaluations, cell in each.items():
            cell["seconds"] = seconds(model, goals, size, limited(search, name, evaluations))
    with atomic_path(ROOT / "docs" / "budgets.svg") as aside:
        aside.write_text(chart(found))
    tables = [f"Success {told}:\n\n{markdown('planner', rows_of(found, kind))}" for kind, told in COUNTED.items()]
    times = f"Milliseconds of a plan:\n\n{markdown('planner', times_of(found))}"
    text = [*tables, times, *(fewest(found, kind) for kind in COUNTED), f"{arguments.goals} goals. {machine()}"]
    replace_section(RESULTS, "budgets", "\n\n".join(text))


if __name__ == "__main__":
    main()
