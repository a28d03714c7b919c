"""Goals sixty steps away and more, flat and by sub-goals from the replay: `python -m benchmarks.long_horizon`.

A slow disc in two rooms whose door is anywhere in the middle half of the wall. Episodes of the shards are fifty steps
long, so that none of them shows the way to such a goal. Collects them, goes on training on them the model of `jepa-wm
demo --preset doors --out runs/doors`, and plays goals at two distances in worlds whose door is at an end of where it
may be. Rewrites the section of docs/results.md unless --episodes is given; shards, model
and graph that are there are not made again; the last line is JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import RESULTS, machine, markdown, replace_section
from benchmarks.verbs import verb
from jepa_wm.control import Controller
from jepa_wm.control.evaluate import Act, Outcome, make_world, play
from jepa_wm.control.goals import HELD_OUT
from jepa_wm.control.landmarks import Landmarks
from jepa_wm.control.route import Route
from jepa_wm.control.two_rooms_goals import RoomGoals
from jepa_wm.data import EpisodeShards
from jepa_wm.envs.geometry import path_distance
from jepa_wm.envs.policies import NoisyExpert, Policy, RandomWalk
from jepa_wm.envs.state_env import StateVectorEnv
from jepa_wm.envs.vector import TwoRoomsVectorEnv
from jepa_wm.planning import ICEM
from jepa_wm.planning.costs import Distance
from jepa_wm.search import Search
from jepa_wm.statistics import wilson
from jepa_wm.world_model import WorldModel

EPISODES, BUDGET, SIZE = 60, 160, 64
SLOW = {"agent_speed": 0.02}
DOORS = (0.25, 0.75)
"""Where the door is while goals are played: the ends of where it was drawn for the shards."""
BANDS = {"60 steps and more": (60, 100), "20 to 40 steps": (20, 40)}
"""Goals by the steps that the expert takes, who knows the shortest way."""
STEPS = 200
AHEAD, STEADY = 4, 10.0
SEARCH = Search(ICEM(128, elites=16, iterations=5), horizon=10, replan=2, distance=Distance(final=0.85))
"""Where a plan ends is what counts: at a sub-goal, from which another leads on, nobody is to stay."""
APART = 0.1
"""Doors farther apart than half of what the narrowest is wide are not the same door."""


def prepare(demo: Path, out: Path) -> WorldModel:
    """Collect and train, unless it is done."""
    shards, model = out / "collect", out / "forecast"
    factors = json.dumps(SLOW | {"door_position": "sample"})
    verb("collect", "--config=two_rooms/collect", f"--out={shards}", f"--factors={factors}", alone=True)
    before = demo / "forecast"
    folders = [f"--run={model}", f"--data.folder={shards}", f"--source={before}", f"--start_from={before}"]
    training = [f"--trainer.max_steps={STEPS}", "--trainer.val_check_interval=100", "--data.batch_size=32"]
    verb("forecast", "--config=two_rooms/forecast_doors", *folders, *training, alone=True)
    return WorldModel.from_pretrained(model)


def remembered(model: WorldModel, out: Path) -> Landmarks:
    """The landmarks of the shards, from their folder if they are there."""
    folder = out / "forecast" / "landmarks"  # Made anew with the model.
    if not folder.is_dir():
        Landmarks.of_episodes(model, str(out / "collect"), steady=STEADY).save(folder)
    return Landmarks.load(folder)


def goals_between(least: int, below: int, episodes: int, draws: int = 64) -> RoomGoals:
    """The first goals that the expert reaches after `least` to `below` - 1 steps, of `draws` for each one wanted."""
    world = TwoRoomsVectorEnv(
        draws * episodes, size=8, factors=SLOW | {"door_position": [DOORS[i % 2] for i in range(draws * episodes)]}
    )
    world.reset(seed=HELD_OUT)
    goals = RoomGoals(world.state.copy(), world.goal.copy(), dict(world.factor_values), 0)
    outcome = play(make_world(goals, 8), goals, scripted(NoisyExpert(0.0), goals), below - 1, True, "expert")
    steps = outcome.reached.argmax(axis=1) + 1
    kept = np.flatnonzero(outcome.ever & (steps >= least))[:episodes]
    if len(kept) < episodes:
        return goals_between(least, below, episodes, 2 * draws)
    factors = {name: values[kept] for name, values in goals.factors.items()}
    return RoomGoals(goals.state[kept], goals.goal[kept], factors, 0)


def scripted(policy: Policy, goals: RoomGoals) -> Act:
    """A policy that knows positions, playing towards these goals."""
    return lambda pixels, active, state: policy(state, goals.goal, goals.factors)


def band(model: WorldModel, landmarks: Landmarks, goals: RoomGoals) -> dict[str, dict[str, Any]]:
    """What each policy reaches of some goals, by name; the first that plans is what the others are compared with."""
    world, count = make_world(goals, SIZE), len(goals.state)
    wanted = goals.wanted(world)
    route = Route.to(wanted, model, landmarks, count, AHEAD)
    rows: dict[str, dict[str, Any]] = {}
    policies: dict[str, Policy] = {"random": RandomWalk(count, HELD_OUT), "expert": NoisyExpert(0.0)}
    for name, policy in policies.items():
        rows[name] = figures(play(world, goals, scripted(policy, goals), BUDGET, True, name))
    flat = None
    for name, goal in (("flat", wanted), (f"sub-goals {AHEAD} blocks ahead", route)):
        outcome = play(world, goals, Controller(model, goal, SEARCH).act, BUDGET, True, name)
        flat = outcome if flat is None else flat
        rows[name] = figures(outcome, flat) | {"seconds": seconds(Controller(model, goal, SEARCH), world, goals)}
        print(name, rows[name], flush=True)
    return rows


def figures(outcome: Outcome, flat: Outcome | None = None) -> dict[str, Any]:
    """Successes with their interval, the steps they took, and the goals that only this or only flat planning met."""
    count, episodes = int(outcome.ever.sum()), len(outcome.ever)
    steps = outcome.reached.argmax(axis=1)[outcome.ever] + 1
    found = {
        "success": count / episodes,
        "ci95": wilson(count, episodes),
        "steps": float(steps.mean()) if count else None,
    }
    if flat is not None:
        found |= {"gained": int((outcome.ever & ~flat.ever).sum()), "lost": int((flat.ever & ~outcome.ever).sum())}
    return found


def seconds(controller: Controller, world: StateVectorEnv, goals: RoomGoals) -> float:
    """Seconds of one core that a plan takes for one environment, all planned together from their starts."""
    start = time.process_time()
    controller.act(world.render_states(goals.state))
    return (time.process_time() - start) / len(goals.state)


def examined(landmarks: Landmarks, shards: str, skip: int) -> dict[str, Any]:
    """What the steps between episodes join: how long the way is in the world, by the door of where they begin."""
    recorded = EpisodeShards(shards, "train")
    episodes = [recorded.recorded(number) for number in landmarks.episodes.unique_consecutive().tolist()]
    place = np.concatenate([episode.state[::skip] for episode in episodes])
    each = [episode.header.factors for episode in episodes for _ in episode.state[::skip]]
    factors = {name: np.array([own[name] for own in each]) for name in each[0]}
    begin, column = (landmarks.costs[:, 1:].isfinite()).nonzero().numpy().T
    end = landmarks.nodes[:, 1:].numpy()[begin, column]
    way = path_distance(place[begin], place[end], {name: values[begin] for name, values in factors.items()})
    door, block = factors["door_position"], skip * SLOW["agent_speed"]
    by_chance = np.random.default_rng(0).permutation(len(door))
    return {
        "landmarks": len(place),
        "steps between those alike": len(begin),
        "their way in the world, blocks": float(np.median(way) / block),
        "of them, way longer than 2 blocks": float((way > 2 * block).mean()),
        "of them, to another door": float((np.abs(door[end] - door[begin]) > APART).mean()),
        "to another door by chance": float((np.abs(door[by_chance] - door) > APART).mean()),
    }


def shown(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The figures as rows of a table."""
    return {
        name: {
            "met": f"{row['success']:.0%} [{row['ci95'][0]:.0%}, {row['ci95'][1]:.0%}]",
            "steps, mean": f"{row['steps']:.0f}" if row["steps"] else "",
            "met that flat misses": row.get("gained", ""),
            "missed that flat meets": row.get("lost", ""),
            "s of one core a plan": f"{row['seconds']:.3f}" if "seconds" in row else "",
        }
        for name, row in rows.items()
    }


def main() -> None:
    """Play every policy at both distances, write the tables and print them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/doors"), help="a finished demo of that preset")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/long_horizon"), help="folder for shards, model and graph"
    )
    parser.add_argument("--episodes", type=int, help=f"{EPISODES} by default; fewer to try it, which writes no section")
    given = parser.parse_args()
    episodes = given.episodes or EPISODES
    model = prepare(given.demo, given.out)
    landmarks = remembered(model, given.out)
    found = {name: band(model, landmarks, goals_between(*steps, episodes)) for name, steps in BANDS.items()}
    graph = examined(landmarks, str(given.out / "collect"), model.dynamics.frame_skip)
    tables = [f"{name}, {episodes} goals:\n\n{markdown('policy', shown(rows))}" for name, rows in found.items()]
    facts = {name: f"{value:.3f}" if isinstance(value, float) else value for name, value in graph.items()}
    text = "\n\n".join([*tables, markdown("graph", {"of the replay": facts})])
    print(text)
    if given.episodes is None:
        replace_section(RESULTS, "long_horizon", f"{text}\n\n{machine()}")
    print(json.dumps({**found, "graph": graph}))


if __name__ == "__main__":
    main()
