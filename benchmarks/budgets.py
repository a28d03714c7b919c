"""How often each planner succeeds for what it spends: `python -m benchmarks.budgets`, after `make demo`.

In the two rooms, on the same goal images for all: every planner of `jepa_wm.planning` for continuous actions without
constraints, with every budget of candidates judged a plan, otherwise by the demo's search. A planner's samples a round
are a share of the budget, the rest of it is as it comes. Plans start from the last plan shifted; as a control, CEM
starts anew every time. The model is the demo's with the proposal of `benchmarks.amortised`, which some planners start
from. Episodes play on after their goals, so that the last step counts, too. The milliseconds are of one plan of one
environment, medians of three, measured when all is played. A budget in seconds is of one plan of all environments
together; a planner's rounds are then a share of the candidates that it can judge in that time. Writes docs/budgets.svg
and a section of docs/results.md; a cell of the same model, goals and planner that is there is not played again.
"""

import argparse
import inspect
import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.amortised import train
from benchmarks.budgets_told import Cells, chart, rates, text_of
from benchmarks.kept import kept
from benchmarks.success import planner_of
from benchmarks.tables import RESULTS, ROOT, machine, replace_section
from jepa_wm import planning
from jepa_wm.allocator import keep_freed_memory
from jepa_wm.checkpoint import spec
from jepa_wm.contracts import Budget, Plan, Planner
from jepa_wm.control.controller import Controller
from jepa_wm.control.evaluate import make_world, play
from jepa_wm.control.goals import HELD_OUT, GoalSet
from jepa_wm.control.two_rooms_goals import RoomGoals
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path
from jepa_wm.goals import GoalLike
from jepa_wm.manifest import identity, read_manifest
from jepa_wm.observations import Observation
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

BUDGETS, SECONDS = (4, 8, 16, 32, 64, 128, 320), (0.5, 2.0)
STEPS, ROUNDS, FEW = 100, 5, 64
"""Steps of an episode, rounds of a planner's candidates, and candidates by whose time a planner is sized."""
SPENT = ("seconds", "evaluations")
COLD = "CEM, from nothing"
LEFT_OUT = ("CategoricalCEM", "AugmentedLagrangian")
"""What is for discrete actions, and what is the search that it is built around where nothing is forbidden."""


class Watched(Controller):
    """A controller that keeps what its plans have spent."""

    def __init__(self, model: WorldModel, goal: GoalLike, search: Search) -> None:
        super().__init__(model, goal, search)
        self.spent: list[dict[str, float]] = []

    def _search(self, seen: Observation, due: Tensor) -> None:
        super()._search(seen, due)
        assert self.plan is not None
        self.spent.append({key: float(self.plan.trace[key][-1]) for key in SPENT})


class Cold(Watched):
    """One that forgets its last plan."""

    def _search(self, seen: Observation, due: Tensor) -> None:
        self._plans[due] = self._middle
        super()._search(seen, due)


def names() -> list[str]:
    """What is compared."""
    return [COLD, *(name for name in planning.__all__ if name not in LEFT_OUT)]


def sized(name: str, evaluations: int) -> Planner:
    """A planner whose rounds are a share of so many candidates."""
    kind = planning.CEM if name == COLD else getattr(planning, name)
    samples = max(evaluations // ROUNDS, 8)
    sizes = {"samples": samples, "elites": max(samples // 8, 2), "restarts": max(samples // 8, 1)}
    asked = inspect.signature(kind).parameters
    planner: Planner = kind(**{size: value for size, value in sizes.items() if size in asked})
    return planner


def limited(search: Search, name: str, budget: Budget, evaluations: int) -> Search:
    """The demo's search by another planner, made for so many candidates, with a budget."""
    return replace(search, planner=sized(name, evaluations), budget=budget)


class Arena(NamedTuple):
    """Where planners meet.

    Attributes:
        folder: of the model's run.
        model: the world model.
        goals: that all of them plan to.
        size: side of the frames in pixels.
        search: the demo's.
    """

    folder: Path
    model: WorldModel
    goals: GoalSet
    size: int
    search: Search

    def played(self, name: str, budget: Budget) -> dict[str, Any]:
        """The cell of a planner and a budget: successes at any step and at the last, and what a plan has spent."""
        evaluations = budget.evaluations or self.within(name, budget.seconds or 0.0)
        search, world = limited(self.search, name, budget, evaluations), make_world(self.goals, self.size)
        controller = (Cold if name == COLD else Watched)(self.model, self.goals.wanted(world), search)
        outcome = play(world, self.goals, controller.act, STEPS, False, name)
        spent = {key: statistics.median(one[key] for one in controller.spent) for key in SPENT}
        return {"any": outcome.ever.tolist(), "last": outcome.last.tolist(), **spent}

    def within(self, name: str, seconds: float) -> int:
        """How many candidates of each goal a planner can judge in so many seconds, by what a few of them take."""
        search = limited(self.search, name, Budget(FEW), FEW)
        traces = [self._planned(search, len(self.goals.state)).trace for _ in range(3)]
        return int(seconds * FEW / min(float(trace["seconds"][-1]) for trace in traces))

    def seconds(self, name: str, count: int) -> float:
        """Of one plan in the first episode, a median of three."""
        search, taken = limited(self.search, name, Budget(count), count), []
        for _ in range(4):
            start = time.perf_counter()
            self._planned(search, 1)
            taken.append(time.perf_counter() - start)
        return statistics.median(taken[1:])

    def _planned(self, search: Search, count: int) -> Plan:
        """A plan to the first goals."""
        world = make_world(self.goals, self.size)
        observation, _ = world.reset(seed=0, options=self.goals.reset_options())
        first = torch.arange(len(self.goals.state)) < count
        seen, state = (torch.from_numpy(np.asarray(observation[key]))[first] for key in ("pixels", "state"))
        return self.model.plan(seen, self.goals.wanted(world).of(first), search, state=state)


def cells(out: Path, arena: Arena, budgets: list[Budget]) -> Cells:
    """Every planner's cells by what it may spend; what was played before, of the same, is read."""
    found: Cells = {}
    of = {"model": identity(arena.folder), "goals": arena.goals.identity, "search": spec(arena.search)}
    for name in names():
        for budget in budgets:
            spent = budget.evaluations or budget.seconds or 0
            file = out / name.replace(", ", "-").replace(" ", "-") / f"{spent}-{len(arena.goals.state)}.json"
            made = {**of, "planner": spec(sized(name, budget.evaluations or FEW)), "budget": spec(budget)}
            try:
                found.setdefault(name, {})[spent] = kept(file, made, partial(arena.played, name, budget))
            except UserError as error:
                print(f"{name} is left out: {error}", flush=True)
                break
            print(name, spent, rates(found[name][spent]), flush=True)
    return {name: each for name, each in found.items() if each}


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
    demo, folder = arguments.demo, train(arguments.demo)
    size = read_manifest(demo / "collect", "collect")["config"]["size"]
    goals = RoomGoals.draw(str(demo / "collect"), arguments.goals, HELD_OUT)
    arena = Arena(folder, WorldModel.from_pretrained(folder), goals, size, planner_of(demo)[1])
    found = cells(demo / "budgets", arena, [Budget(count) for count in arguments.budgets])
    if arguments.play_only:
        return
    times = {name: {count: arena.seconds(name, int(count)) for count in each} for name, each in found.items()}
    within = cells(demo / "budgets", arena, [Budget(seconds=limit) for limit in arguments.seconds])
    with atomic_path(ROOT / "docs" / "budgets.svg") as aside:
        aside.write_text(chart(found, times))
    text = text_of(found, times, within)
    replace_section(RESULTS, "budgets", f"{text}\n\n{arguments.goals} goals. {machine()}")


if __name__ == "__main__":
    main()
