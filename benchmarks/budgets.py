"""How often each planner succeeds for what it spends: `python -m benchmarks.budgets`, after `make demo`.

In the two rooms, on the same goal images for all: every planner of `jepa_wm.planning` for continuous actions without
constraints, with every budget of candidates judged a plan, otherwise by the demo's search. A planner's samples a round
are a share of the budget, the rest of it is as it comes. Plans start from the last plan shifted; as a control, CEM
starts anew every time. The model is the demo's with the proposal of `benchmarks.amortised`, which some planners start
from. Episodes play on after their goals, so that the last step counts, too. The milliseconds are of one plan of one
environment, medians of three, measured when all is played. With a budget in seconds planners are as they come, and the
seconds are of one plan of all environments together. Writes docs/budgets.svg and a section of docs/results.md; a cell
of the same model and search that is there is not played again.
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
from benchmarks.budgets_told import Cells, chart, text_of
from benchmarks.success import planner_of
from benchmarks.tables import RESULTS, ROOT, machine, replace_section
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

BUDGETS, SECONDS = (4, 8, 16, 32, 64, 128, 320), (0.5, 2.0)
STEPS, ROUNDS = 100, 5
COLD = "CEM, from nothing"
LEFT_OUT = ("CategoricalCEM", "AugmentedLagrangian")
"""What is for discrete actions, and what is the search that it is built around where nothing is forbidden."""


class ColdController(Controller):
    """A controller that forgets its last plan."""

    def _search(self, seen: Observation, due: Tensor) -> None:
        self._plans[due] = self._middle
        super()._search(seen, due)


def names() -> list[str]:
    """What is compared."""
    return [COLD, *(name for name in planning.__all__ if name not in LEFT_OUT)]


def sized(name: str, evaluations: int | None) -> Planner:
    """A planner whose rounds are a share of its candidates; as it comes where there is no number of these."""
    kind, sizes = planning.CEM if name == COLD else getattr(planning, name), {}
    if evaluations is not None:
        samples = max(evaluations // ROUNDS, 8)
        sizes = {"samples": samples, "elites": max(samples // 8, 2), "restarts": max(samples // 8, 1)}
    asked = inspect.signature(kind).parameters
    planner: Planner = kind(**{size: value for size, value in sizes.items() if size in asked})
    return planner


def limited(search: Search, name: str, budget: Budget) -> Search:
    """The demo's search by another planner, with a budget."""
    return replace(search, planner=sized(name, budget.evaluations), budget=budget)


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


def cells(out: Path, model: WorldModel, goals: GoalSet, size: int, search: Search, budgets: list[Budget]) -> Cells:
    """Every planner's cells by what it may spend; those that were played before are read."""
    found: Cells = {}
    for name in names():
        for budget in budgets:
            spent = budget.evaluations or budget.seconds or 0
            file = out / name.replace(", ", "-").replace(" ", "-") / f"{spent}-{len(goals.state)}.json"
            if not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    write_json(file, played(model, goals, size, limited(search, name, budget), name))
                except UserError as error:
                    print(f"{name} is left out: {error}", flush=True)
                    break
            found.setdefault(name, {})[spent] = read_json(file)
            print(name, spent, found[name][spent], flush=True)
    return found


def main() -> None:
    """Play, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    parser.add_argument("--goals", type=int, default=100)
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--seconds", type=float, nargs="+", default=list(SECONDS))
    parser.add_argument("--play_only", action="store_true", help="nothing that asks for a machine of its own")
    arguments = parser.parse_args()
    keep_freed_memory()
    demo = arguments.demo
    model, search = WorldModel.from_pretrained(train(demo)), planner_of(demo)[1]
    size = read_manifest(demo / "collect", "collect")["config"]["size"]
    goals = RoomGoals.draw(str(demo / "collect"), arguments.goals, HELD_OUT)
    counts = [Budget(count) for count in arguments.budgets]
    found = cells(demo / "budgets", model, goals, size, search, counts)
    if arguments.play_only:
        return
    for name, each in found.items():
        for count, cell in each.items():
            cell["seconds"] = seconds(model, goals, size, limited(search, name, Budget(int(count))))
    within = cells(demo / "budgets", model, goals, size, search, [Budget(seconds=limit) for limit in arguments.seconds])
    with atomic_path(ROOT / "docs" / "budgets.svg") as aside:
        aside.write_text(chart(found))
    replace_section(RESULTS, "budgets", f"{text_of(found, within)}\n\n{arguments.goals} goals. {machine()}")


if __name__ == "__main__":
    main()
