"""Plans without a search, and with a short one: `python -m benchmarks.amortised`, after `make demo`.

Trains the proposal of `configs/two_rooms/amortise.yaml` beside the demo's world model, unless it is there; plays the
same 100 image goals in the other room with each planner, otherwise by the demo's search. Beside success at any step and
at the last, the candidates that a plan judges and the time of a plan for one environment, encoding what is seen and the
goal included: the median of nine, in turn. Writes a section of docs/results.md; the last line is JSON.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.success import planner_of
from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm.cli import run_verb
from jepa_wm.control import Controller
from jepa_wm.control.evaluate import make_world, play
from jepa_wm.control.goals import HELD_OUT
from jepa_wm.control.results import policy_row
from jepa_wm.control.two_rooms_goals import RoomGoals
from jepa_wm.goals import Image, StepsToGo
from jepa_wm.planning import CEM, Amortised, Hybrid
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

SIZE, STEPS, REPEATS = 64, 100, 9
CONFIGURED = "as the demo plans"
SMALL = CEM(samples=32, elites=4, iterations=2)


def searches(configured: Search) -> dict[str, Search]:
    """What is compared, each otherwise as the demo plans."""
    return {
        CONFIGURED: configured,
        "CEM, 64 candidates": replace(configured, planner=SMALL),
        "amortised": replace(configured, planner=Amortised(), hold=False),
        "amortised, actions held": replace(configured, planner=Amortised()),
        "amortised, a block at a time": replace(configured, planner=Amortised(), horizon=1, replan=1, hold=False),
        "hybrid, 64 candidates": replace(configured, planner=Hybrid(SMALL)),
        "by the learned distance": configured,
    }


def train(demo: Path) -> Path:
    """The run folder of the demo's world model with a proposal, trained unless it is there."""
    run = demo / "amortise"
    folders = [f"--run={run}", f"--source={demo / 'forecast'}", f"--data.folder={demo / 'collect'}"]
    run_verb("forecast", ["--config=two_rooms/amortise", *folders])
    return run


def seconds(
    model: WorldModel, pixels: torch.Tensor, goals: dict[str, Image], compared: dict[str, Search]
) -> dict[str, float]:
    """The median time of a plan by each search, for one environment; searches take turns."""
    taken: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(REPEATS):
        for name, search in compared.items():
            began = time.perf_counter()
            model.plan(pixels, goals[name], search)
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    """Train, play, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    model = WorldModel.from_pretrained(train(arguments.demo))
    goals = RoomGoals.draw(str(arguments.demo / "collect"), arguments.episodes, HELD_OUT)
    world = make_world(goals, SIZE)
    shown = goals.wanted(world)
    assert isinstance(shown, Image)
    compared = searches(planner_of(arguments.demo)[1])
    wanted = {name: StepsToGo(shown.seen) if "learned" in name else shown for name in compared}
    first = torch.arange(arguments.episodes) == 0
    pixels = torch.from_numpy(world.render_states(goals.state))
    speed = seconds(model, pixels[first], {name: goal.of(first) for name, goal in wanted.items()}, compared)
    rows: dict[str, dict[str, Any]] = {}
    for name, search in compared.items():
        controller = Controller(model, wanted[name], search)
        outcome = play(world, goals, controller.act, STEPS, False, name)
        row = policy_row(name, goals, outcome, False)
        judged = model.plan(pixels[first], wanted[name].of(first), search).trace["evaluations"][-1]
        rows[name] = {
            "success": f"{row['success']:.0%} [{row['ci95'][0]:.1%}, {row['ci95'][1]:.1%}]",
            "at the last step": f"{outcome.last.mean():.0%}",
            "steps to the goal": f"{outcome.reached.argmax(axis=1)[outcome.ever].mean() + 1:.1f}",
            "candidates a plan": int(judged),
            "milliseconds a plan": f"{1000 * speed[name]:.1f}",
        }
        print(name, rows[name], flush=True)
    text = f"{arguments.episodes} image goals in the other room, {STEPS} steps at most.\n\n{markdown('planner', rows)}"
    replace_section(RESULTS, "amortised", f"{text}\n\n{machine()}")
    print(json.dumps({"amortised_vs_cem": speed[CONFIGURED] / speed["amortised"]}))


if __name__ == "__main__":
    main()
