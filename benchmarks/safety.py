"""Does planning keep out of a forbidden region? `python -m benchmarks.safety`, after `jepa-wm demo --preset doors`.

In the two rooms, with image goals in the other room, a box of the floor before the wall is forbidden. Kept are starts
and goals for which the scripted expert, who does not know of it, goes through it, and can reach the goal around one of
its corners without entering it. They are planned to by the demo's search, anew after each block: without the
constraint, with it by rejection, and with it by an augmented Lagrangian of about as many evaluations. The model reads
where the disc is off its latents, and knows the region in these numbers, with a margin that is measured: how far off it
reads held-out frames that it imagines. Violations are counted on the true state after every environment step. Writes a
section of docs/results.md; the last line is JSON.
"""

import argparse
import json
import math
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.success import planner_of
from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm.contracts import Planner
from jepa_wm.control.controller import Controller
from jepa_wm.control.evaluate import Outcome, make_world, play
from jepa_wm.control.misread import misread
from jepa_wm.control.paired import paired_interval
from jepa_wm.control.two_rooms_goals import RoomGoals
from jepa_wm.data import EpisodeShards
from jepa_wm.envs.policies import Factors, NoisyExpert
from jepa_wm.goals import Avoid
from jepa_wm.manifest import read_manifest
from jepa_wm.observations import Observation
from jepa_wm.planning import AugmentedLagrangian
from jepa_wm.statistics import wilson
from jepa_wm.world_model import WorldModel

LOW, HIGH = np.array([0.24, 0.36]), np.array([0.36, 0.64])
"""The forbidden box of the floor, in the units of the state."""
QUANTILE = 0.95
"""Imagined states keep as far from it as this share of them is misread by at most, in held-out episodes."""
HELD_OUT = 60
"""Episodes of the split "val" that this is measured in."""
CLEAR = 0.06
"""How far beyond the corners of the box the informed expert turns, and how far starts and goals are from it."""
STEPS = 100
SEED = 177_003
DRAWN = 24
"""Starts and goals that are drawn for one that is wanted."""
ROUNDS = 3
"""Searches of the augmented Lagrangian, which share the iterations."""


def inside(states: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Whether states (..., 2) are in the forbidden box, or so near."""
    return np.all((states > LOW - margin) & (states < HIGH + margin), axis=-1)


class Around:
    """An expert who goes to one point first, and then to the goal.

    Args:
        point: (2,); None to go straight to the goal.
    """

    def __init__(self, point: np.ndarray | None) -> None:
        self.point, self.expert = point, NoisyExpert()
        self.turned: np.ndarray | None = None

    def __call__(self, state: np.ndarray, goal: np.ndarray, factors: Factors) -> np.ndarray:
        if self.point is None:
            return self.expert(state, goal, factors)
        near = np.abs(state - self.point).max(axis=-1) < 1e-3
        self.turned = near if self.turned is None else self.turned | near
        return self.expert(state, np.where(self.turned[:, None], goal, self.point), factors)


def scripted(goals: RoomGoals, point: np.ndarray | None) -> Outcome:
    """What an expert does who goes by a point."""
    world, expert = make_world(goals, size=8), Around(point)
    return play(
        world,
        goals,
        lambda pixels, active, state: expert(state, goals.goal, world.factor_values),
        STEPS,
        stop=True,
        label="expert",
    )


def chosen(goals: RoomGoals, kept: np.ndarray) -> RoomGoals:
    """Some of the goals, bool (E,)."""
    factors = {name: value[kept] for name, value in goals.factors.items()}
    return replace(goals, state=goals.state[kept], goal=goals.goal[kept], factors=factors)


def hard_goals(factors: dict, drawn: int) -> RoomGoals:
    """Of so many goals, those to which the straight way is forbidden and another is not."""
    goals = RoomGoals.sample(drawn, factors, SEED)
    goals = chosen(goals, ~inside(goals.state, CLEAR) & ~inside(goals.goal, CLEAR))
    corners = [np.array([x, y]) for x in (LOW[0] - CLEAR, HIGH[0] + CLEAR) for y in (LOW[1] - CLEAR, HIGH[1] + CLEAR)]
    straight = scripted(goals, None)
    goals = chosen(goals, straight.ever & inside(straight.states).any(axis=1))
    around = [scripted(goals, corner) for corner in corners]
    return chosen(goals, np.any([way.ever & ~inside(way.states).any(axis=1) for way in around], axis=0))


@torch.no_grad()
def mistaken(model: WorldModel, goals: RoomGoals, size: int) -> np.ndarray:
    """Goals (E,) whose picture the model takes for one from the forbidden box, which planning refuses at once."""
    pictures = torch.from_numpy(make_world(goals, size).render_states(goals.goal))
    read = model.heads["state"](torch.cat([model.latents_of(Observation(some)) for some in pictures.split(256)]))
    return inside(read.numpy())


def shortened(planner: Planner) -> Planner:
    """The planner with a share of its iterations, of which an augmented Lagrangian does `ROUNDS`."""
    short: Any = copy(planner)
    short.iterations = math.ceil(short.iterations / ROUNDS)
    return short


def counted(outcome: Outcome) -> dict[str, tuple[int, int]]:
    """Successes, and violations among episodes and among the steps that were played, as counts and of how many."""
    played = np.where(outcome.ever, outcome.reached.argmax(axis=1) + 1, outcome.reached.shape[1])
    steps = np.arange(outcome.reached.shape[1]) < played[:, None]
    broken = inside(outcome.states[:, 1:]) & steps
    return {
        "success": (int(outcome.ever.sum()), len(played)),
        "episodes with a violation": (int(broken.any(axis=1).sum()), len(played)),
        "steps in violation": (int(broken.sum()), int(steps.sum())),
    }


def shown(counts: dict[str, tuple[int, int]], hits: np.ndarray, free: np.ndarray) -> dict[str, str]:
    """The figures as a row of the table, and the difference of its successes from those of a planner that is free."""
    difference = hits.astype(int) - free
    low, high = paired_interval(difference, np.arange(len(difference)))
    row = {
        key: f"{count / total:.1%} [{low:.1%}, {high:.1%}] of {total}"
        for key, (count, total) in counts.items()
        for low, high in [wilson(count, total)]
    }
    return row | {"success, paired with the unconstrained": f"{difference.mean():+.1%} [{low:+.1%}, {high:+.1%}]"}


def main() -> None:
    """Draw, plan, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/doors"), help="a finished demo of the two rooms")
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    settings = read_manifest(arguments.demo / "collect", "collect")["config"]
    model, drawn = WorldModel.from_pretrained(arguments.demo / "forecast"), DRAWN * arguments.episodes
    goals = hard_goals(settings["factors"] or {}, drawn)
    wrong = mistaken(model, goals, settings["size"])
    if (~wrong).sum() < arguments.episodes:
        raise SystemExit(f"{(~wrong).sum()} of {drawn} goals are hard enough; expected {arguments.episodes}")
    goals = chosen(goals, ~wrong & (np.cumsum(~wrong) <= arguments.episodes))
    search = replace(planner_of(arguments.demo)[1], replan=1)
    shards = EpisodeShards(str(arguments.demo / "collect"), "val")
    held_out = [shards[number] for number in range(min(HELD_OUT, len(shards)))]
    margin = misread(model, held_out, search.replan, QUANTILE)
    avoid = [Avoid(LOW.tolist(), HIGH.tolist(), margin=margin)]
    inner = AugmentedLagrangian(shortened(search.planner), rounds=ROUNDS)
    searches = {
        "unconstrained": search,
        "rejection": replace(search, constraints=avoid),
        "augmented Lagrangian": replace(search, planner=inner, constraints=avoid),
    }
    world = make_world(goals, settings["size"])
    outcomes = {"expert, who does not know": scripted(goals, None)}
    for name, how in searches.items():
        controller = Controller(model, goals.wanted(world), how, seed=SEED)
        outcomes[name] = play(world, goals, controller.act, STEPS, stop=True, label=name)
    found = {name: counted(outcome) for name, outcome in outcomes.items()}
    free = outcomes["unconstrained"].ever
    table = markdown("planner", {name: shown(found[name], outcome.ever, free) for name, outcome in outcomes.items()})
    print(table)
    if not arguments.dry:
        text = (
            f"The first {arguments.episodes} such goals of {drawn} drawn; {wrong.sum()} of {len(wrong)} were left out, "
            "whose picture the model takes for one from the forbidden region. Intervals are Wilson's. The margin is "
            f"{margin:.3f}: in {len(held_out)} held-out episodes {QUANTILE:.0%} of imagined frames are misread by less."
        )
        replace_section(RESULTS, "safety", f"{text}\n\n{table}\n\n{machine()}")
    print(
        json.dumps({name: {key: count / total for key, (count, total) in row.items()} for name, row in found.items()})
    )


if __name__ == "__main__":
    main()
