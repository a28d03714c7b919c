"""What a plan costs, beside stable-worldmodel's: `python -m benchmarks.planning --peer PEER/bin/python`.

`--peer` names the Python of an environment with stable-worldmodel (`pip install 'stable-worldmodel[all]'`). A plan is
LeWM's: CEM with 300 samples, 30 elites and 30 iterations over 5 blocks of 5 actions of 2 numbers, for one environment.
The peer trains its LeWM on clips of the two rooms; ours, behind that encoder, a predictor of the same size on the same
clips for as many steps. Both plan from the same pictures to the same goals, by turns, each in a process of its own;
times are medians over goals, ratios the peer's seconds in float32 over ours. The `cem_cost_ratio` is of what the plans
cost in truth, ours over the peer's, mean over goals and the worse of our two precisions: the environment carries them
out, and the encoder that all share says how far from the goal that is. `same_weights` is ours with the peer's own
predictor; its `_cost_ratio` is of what that imagines of the plans, which both searched for the least of, the peer's cut
off at the bounds of the actions. The rest needs no peer: fifty environments at once, by LeWM's plan with a tenth of its
iterations, and a plan without a search, as `WorldModel.plan` makes it, beside LeWM's plan by the same model, both in
float32; the table has both in bfloat16, too. The last line is JSON, null for what needs a peer where there is none.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.dynamics import predictor
from benchmarks.planning_learned import learn
from benchmarks.planning_world import HORIZON, SIZE, missed_by, write
from benchmarks.sides import Side
from benchmarks.tables import BENCHMARKS, bare, machine, markdown, rates, replace_section
from jepa_wm import load_world_model
from jepa_wm.allocator import keep_freed_memory
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders import Learned, ProjectedPool, vit
from jepa_wm.encoders.linear import packed
from jepa_wm.observations import Observation
from jepa_wm.planning import CEM, Amortised
from jepa_wm.planning.costs import Distance
from jepa_wm.precision import mixed
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

PEER = Path(__file__).parent / "peers" / "swm_cem.py"
ENVIRONMENTS = 50
ASKED = {
    "cem_fp32": "at least 2",
    "cem_bf16": "at least 6",
    "cem_cost_ratio": "at most 1",
    "batch50_vs_50": "at most 1",
    "amortised_vs_cem": "at least 100",
}
LEWM = Search(CEM(300, 30, 30, momentum=0.0, min_std=1e-3), HORIZON, HORIZON, hold=False, distance=Distance(final=1.0))
SHORT = replace(LEWM, planner=CEM(300, 30, 3, momentum=0.0, min_std=1e-3))
"""What is planned fifty times over."""


@torch.no_grad()
def searched(model: WorldModel, seen: Tensor, goal: Tensor, half: bool, seed: int = 0) -> Tensor:
    """A plan (K, A) from a picture uint8 (1, C, H, W) to another, as `WorldModel.plan` makes it, in either precision.

    It begins as wide as the peer's, one standard deviation; the peer keeps to no bounds, ours to the environment's.
    """
    cost = model.action_cost(model.latents_of(Observation(seen)), goal, LEWM)
    mean = torch.zeros(1, HORIZON, model.dynamics.frame_skip * model.dynamics.action_dim)
    bound = torch.ones(mean.shape[2:])
    with mixed("cpu") if half else nullcontext(), packed():
        generator = torch.Generator().manual_seed(seed)
        return LEWM.planner.plan(cost, mean, torch.ones_like(mean), -bound, bound, generator).actions[0]


def serve(precision: str, folder: Path, weights: str) -> None:
    """What our `Side` does: plans to the goals in the folder, by the model in that one."""
    torch.set_num_threads(2)
    keep_freed_memory()
    model, goals = WorldModel.from_pretrained(weights), torch.load(folder / "goals.pt")
    print("=ready", flush=True)
    for line in sys.stdin:
        number = int(line)
        seen, goal = (goals[name][number][None] for name in ("seen", "goal"))
        start = time.perf_counter()
        actions = searched(model, seen, goal, precision == "bf16", number)
        print("=" + json.dumps([time.perf_counter() - start, actions.tolist()]), flush=True)


def beside(peer: str, goals: int, steps: int, folder: Path) -> dict[str, dict[str, float]]:
    """Median seconds of each side; mean distance from the goals, in truth and as the peer's weights imagine it."""
    ways, pictures = write(folder, goals), torch.load(folder / "goals.pt")
    sides = {"peer fp32": Side([peer, str(PEER), str(folder), str(steps)])}
    theirs = load_world_model(str(folder), size=SIZE)
    for name, model in (("ours", learn(theirs.encoder, folder, steps)), ("same weights", theirs)):
        model.save_pretrained(folder / name)
        for precision in ("fp32", "bf16"):
            command = [sys.executable, "-m", "benchmarks.planning", "--serve", precision]
            sides[f"{name} {precision}"] = Side([*command, "--folder", str(folder), "--weights", str(folder / name)])
    found = {name: list[tuple[float, ...]]() for name in sides}
    for number in range(goals):
        seen, goal = (pictures[name][number][None] for name in ("seen", "goal"))
        for name, side in sides.items():
            seconds, plan = json.loads(side(str(number)))
            actions = torch.tensor(plan)
            cost = missed_by(theirs.encoder, ways, number, actions)
            found[name].append((seconds, cost, imagined(theirs, seen, goal, actions)))
    for side in sides.values():
        side.end()
    columns = {name: list(zip(*rows, strict=True)) for name, rows in found.items()}
    return {
        name: {
            "seconds": statistics.median(seconds),
            "cost": statistics.fmean(costs),
            "imagined": statistics.fmean(imagined_costs),
        }
        for name, (seconds, costs, imagined_costs) in columns.items()
    }


@torch.no_grad()
def imagined(model: WorldModel, seen: Tensor, goal: Tensor, actions: Tensor) -> float:
    """What a plan (K, A) costs as a model imagines it, cut off at the bounds, as environments do it."""
    cost = model.action_cost(model.latents_of(Observation(seen)), goal, LEWM)
    return float(cost(actions.clamp(-1, 1)[None, None]))


def untrained() -> WorldModel:
    """Ours of LeWM's size, with a proposal."""
    encoder = vit("tiny", 16, positions=Learned((1, 4, 4)), prefix=1, pooling=ProjectedPool())
    dynamics = predictor()
    return WorldModel(encoder, dynamics, proposal=Proposal(dynamics.latent_dim))


def together(model: WorldModel) -> dict[str, float]:
    """Seconds of a short plan of one environment, and of fifty at once, by turns."""
    pixels, goal = noise(ENVIRONMENTS)
    taken: dict[int, list[float]] = {1: [], ENVIRONMENTS: []}
    for _ in range(4):
        for count, repeats in ((1, 5), (ENVIRONMENTS, 1)):
            work = [timed(partial(model.plan, pixels[:count], goal[:count], SHORT)) for _ in range(repeats)]
            taken[count].append(statistics.median(work))
    return {str(count): statistics.median(seconds[1:]) for count, seconds in taken.items()}


def noise(count: int) -> tuple[Tensor, Tensor]:
    """What is seen and what is to be seen, uint8 (count, C, H, W): to time by, any will do."""
    seen, goal = torch.randint(0, 256, (2, count, 3, SIZE, SIZE), dtype=torch.uint8)
    return seen, goal


def timed(work: Callable[[], Any]) -> float:
    """Seconds of it."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def amortised(model: WorldModel, half: bool) -> float:
    """Seconds of a plan without a search: both pictures encoded, actions proposed block by block, and judged once."""
    search = replace(LEWM, planner=Amortised())
    # What a world model does on a processor without bfloat16.
    with nullcontext() if half else patch("jepa_wm.precision.has_bf16", return_value=False):
        return statistics.median(timed(partial(model.plan, *noise(1), search)) for _ in range(20))


def by_search(model: WorldModel, half: bool) -> float:
    """Seconds of LeWM's plan, the median of three after one."""
    taken = [timed(partial(searched, model, *noise(1), half)) for _ in range(4)]
    return statistics.median(taken[1:])


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of an environment with stable-worldmodel")
    parser.add_argument("--goals", type=int, default=8, help="goals that both sides plan to")
    parser.add_argument("--steps", type=int, default=600, help="of training")
    parser.add_argument("--serve", choices=("fp32", "bf16"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve, arguments.folder, arguments.weights)
    torch.set_num_threads(2)
    keep_freed_memory()
    figures: dict[str, float] = {}
    tables = []
    if arguments.peer:
        with tempfile.TemporaryDirectory() as folder:
            found = beside(arguments.peer, arguments.goals, arguments.steps, Path(folder))
        peer = found["peer fp32"]
        for name, key in (("ours", "cem"), ("same weights", "same_weights")):
            for precision in ("fp32", "bf16"):
                figures[f"{key}_{precision}"] = peer["seconds"] / found[f"{name} {precision}"]["seconds"]
        figures["cem_cost_ratio"] = (
            max(found[f"ours {precision}"]["cost"] for precision in ("fp32", "bf16")) / peer["cost"]
        )
        figures["same_weights_cost_ratio"] = (
            max(found[f"same weights {precision}"]["imagined"] for precision in ("fp32", "bf16")) / peer["imagined"]
        )
        rows = {
            name: {
                "seconds a plan": f"{one['seconds']:.2f}",
                "distance from the goal": f"{one['cost']:.4f}",
                "as LeWM's weights imagine it": f"{one['imagined']:.4f}",
            }
            for name, one in found.items()
        }
        tables.append(markdown("side", rows))
    model = untrained().eval()
    batch = together(model)
    figures["batch50_vs_50"] = batch[str(ENVIRONMENTS)] / (ENVIRONMENTS * batch["1"])
    tables.append(markdown("environments", {name: {"seconds a plan": f"{s:.2f}"} for name, s in batch.items()}))
    plans = {
        "CEM, float32": by_search(model, half=False),
        "CEM, bfloat16": by_search(model, half=True),
        "amortised, float32": amortised(model, half=False),
        "amortised, bfloat16": amortised(model, half=True),
    }
    figures["amortised_vs_cem"] = plans["CEM, float32"] / plans["amortised, float32"]
    tables.append(markdown("planner", {name: {"ms a plan": f"{1e3 * s:.0f}"} for name, s in plans.items()}))
    asked = {name: {"measured": f"{value:.3f}", "asked": ASKED.get(name, "")} for name, value in figures.items()}
    if arguments.peer:
        replace_section(
            BENCHMARKS, "planning", "\n\n".join([markdown("figure", asked), *tables, rates(bare()), machine()])
        )
    else:
        print("docs/benchmarks.md is left as it is: without --peer nothing is compared", file=sys.stderr)
    print(json.dumps(dict.fromkeys(ASKED) | {name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
