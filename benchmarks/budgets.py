"""How often each planner succeeds for what it spends: `python -m benchmarks.budgets --model runs/demo/forecast`.

In the two rooms, on the same goal images for all: every planner of `jepa_wm.planning` for continuous actions without
constraints, with every budget of candidates judged a plan, in receding horizon as `jepa-wm plan` does it. A planner's
samples a round are a share of the budget, the rest of it is as it comes. Plans start from the last plan shifted; as a
control, CEM starts anew every time. Planners that start from a model's proposal are measured if the model has one. The
seconds are of one plan of one environment, medians of three. Writes docs/budgets.svg and a section of docs/results.md;
a cell that is there is not played again.
"""

import argparse
import inspect
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables import RESULTS, ROOT, machine, markdown, replace_section
from jepa_wm import planning
from jepa_wm.allocator import keep_freed_memory
from jepa_wm.contracts import Budget, Planner
from jepa_wm.control.controller import Controller
from jepa_wm.control.evaluate import make_world, play
from jepa_wm.control.goals import HELD_OUT, GoalSet
from jepa_wm.control.results import policy_row
from jepa_wm.control.two_rooms_goals import RoomGoals
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, read_json, write_json
from jepa_wm.manifest import read_manifest
from jepa_wm.observations import Observation
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel
from probes.report.charts import PALETTE, Line, Panel, small_multiples, standalone

BUDGETS = (4, 8, 16, 32, 64, 128, 320, 640)
STEPS, HORIZON, ROUNDS = 100, 8, 5
COLD = "CEM, from nothing"
CANDIDATES, TIMES = "success in %, over candidates", "success in %, over milliseconds"
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


def played(model: WorldModel, goals: GoalSet, size: int, name: str, evaluations: int) -> dict[str, Any]:
    """The cell of a planner and a budget."""
    search = Search(sized(name, evaluations), HORIZON, budget=Budget(evaluations))
    world = make_world(goals, size)
    controller = (ColdController if name == COLD else Controller)(model, goals.wanted(world), search)
    outcome = play(world, goals, controller.act, STEPS, goals.ends, f"{name}, {evaluations}")
    return {**policy_row(name, goals, outcome, goals.ends), "seconds": seconds(model, goals, size, search)}


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


def cells(out: Path, model: WorldModel, goals: GoalSet, size: int, budgets: list[int]) -> Cells:
    """Every planner's cells by budget; those that were played before are read."""
    found: Cells = {}
    for name in names():
        for evaluations in budgets:
            file = out / name.replace(", ", "-").replace(" ", "-") / f"{evaluations}-{len(goals.state)}.json"
            if not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    write_json(file, played(model, goals, size, name, evaluations))
                except UserError as error:
                    print(f"{name} is left out: {error}", flush=True)
                    break
            found.setdefault(name, {})[evaluations] = read_json(file)
            print(name, evaluations, found[name][evaluations], flush=True)
    return found


def rows_of(found: Cells) -> dict[str, dict[str, str]]:
    """A table's rows: of each planner and budget the success, its interval and the time of a plan."""
    rows = {}
    for name, each in found.items():
        rows[name] = {
            f"{evaluations}": "{success:.0%} [{0:.0%}, {1:.0%}], {ms:.0f} ms".format(
                *cell["ci95"], success=cell["success"], ms=1e3 * cell["seconds"]
            )
            for evaluations, cell in each.items()
        }
    return rows


def fewest(found: Cells) -> str:
    """The least that each planner spends in a cell whose interval overlaps that of the best."""
    best = max((cell for each in found.values() for cell in each.values()), key=lambda cell: cell["success"])
    enough = {
        name: cells
        for name, each in found.items()
        if (cells := {count: cell for count, cell in each.items() if cell["ci95"][1] >= best["ci95"][0]})
    }
    candidates = {name: min(cells) for name, cells in enough.items()}
    times = {name: round(1e3 * min(cell["seconds"] for cell in cells.values())) for name, cells in enough.items()}
    told = ", ".join(f"{name} {least}" for name, least in sorted(candidates.items(), key=lambda item: item[1]))
    soon = ", ".join(f"{name} {least} ms" for name, least in sorted(times.items(), key=lambda item: item[1]))
    return (
        f"Fewest candidates a plan whose interval overlaps that of the best success, {best['success']:.0%}: {told}. "
        f"Least time of such a plan: {soon}."
    )


def chart(found: Cells) -> str:
    """An SVG of the success of every planner in per cent, over candidates and over milliseconds of a plan."""
    panels = []
    for title in (CANDIDATES, TIMES):
        lines = []
        for number, (name, each) in enumerate(found.items()):
            spent = {count: round(1e3 * cell["seconds"]) if title == TIMES else count for count, cell in each.items()}
            points = {spent[count]: 100 * cell["success"] for count, cell in each.items()}
            style = STYLES[number // len(PALETTE) % len(STYLES)]
            lines.append(Line(name, dict(sorted(points.items())), PALETTE[number % len(PALETTE)], style))
        panels.append(Panel(title, lines, scale="doubling"))
    return standalone(small_multiples(panels, "success of planners over what a plan spends", "a plan", 2, (4.4, 3.0)))


def main() -> None:
    """Play, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/demo/forecast")
    parser.add_argument("--data", default="runs/demo/collect")
    parser.add_argument("--out", type=Path, default=Path("runs/budgets"))
    parser.add_argument("--goals", type=int, default=100)
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--play_only", action="store_true", help="leave the documents as they are")
    arguments = parser.parse_args()
    keep_freed_memory()
    model = WorldModel.from_pretrained(arguments.model)
    goals = RoomGoals.draw(arguments.data, arguments.goals, HELD_OUT)
    size = read_manifest(arguments.data, "collect")["config"]["size"]
    found = cells(arguments.out, model, goals, size, arguments.budgets)
    if arguments.play_only:
        return
    with atomic_path(ROOT / "docs" / "budgets.svg") as aside:
        aside.write_text(chart(found))
    text = [markdown("planner", rows_of(found)), fewest(found), f"{arguments.goals} goals. {machine()}"]
    replace_section(RESULTS, "budgets", "\n\n".join(text))


if __name__ == "__main__":
    main()
