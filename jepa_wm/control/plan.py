"""`jepa-wm plan`: plan towards image goals and sentences, and count the successes."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa_wm.control.controller import Controller, Search
from jepa_wm.control.evaluate import Act, Outcome, make_world, play
from jepa_wm.control.films import write_film
from jepa_wm.control.goals import GoalSet, draw_goals
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.policies import NoisyExpert, NoOp, Policy, RandomWalk
from jepa_wm.envs.vector import TwoRoomsVectorEnv
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, write_json
from jepa_wm.manifest import is_complete, read_manifest, stage_run
from jepa_wm.world_model import WorldModel

HELD_OUT = 1_000_003
"""Added to the seed: goal sets are drawn from other random streams than collected episodes."""


def plan(
    model: str,
    data: str,
    out: str,
    search: Search,
    episodes: int = 200,
    text_episodes: int = 100,
    steps: int = 100,
    seed: int = 0,
    films: int = 6,
) -> None:
    """Plan towards image goals and sentences in held-out episodes, and count the successes.

    An image goal is met when the disc comes within 16/224 of the side at any step, and the episode
    ends; a sentence is met when the disc is in the region it names after the last step. Starts that
    satisfy their goal are left out and counted. Random, no-op and expert policies play the same goals.

    Args:
        model: run folder of a world model, as `jepa-wm forecast` writes it.
        data: folder of shards, whose size and factors of variation the episodes have.
        out: folder for results, goal sets and films.
        search: how to plan.
        episodes: episodes with an image goal, in the other room.
        text_episodes: episodes with a sentence as goal.
        steps: environment steps in an episode at most.
        seed: seeds goal sets and searches.
        films: episodes of each kind that are filmed.

    Raises:
        UserError: if a folder is missing, unfinished or of another stage, or a number is out of range.
    """
    config = dict(locals())
    config["search"] = {**vars(search), "planner": {"class": type(search.planner).__name__, **vars(search.planner)}}
    settings = read_manifest(data, "collect")["config"]
    if settings["environment"] != TWO_ROOMS:
        raise UserError(f"plan: {data} is of {settings['environment']}; expected {TWO_ROOMS}, whose goals it knows")
    read_manifest(model, "forecast")
    if min(episodes, text_episodes, steps) < 1 or films < 0:
        raise UserError(
            f"plan: got episodes {episodes}, text_episodes {text_episodes}, steps {steps}, films {films}; "
            "expected at least 1, 1, 1 and 0"
        )
    folder = Path(out)
    if is_complete(folder):
        read_manifest(folder, "plan")
        print(f"{out} is complete already")
        return
    world_model = WorldModel.from_pretrained(model).to("cuda" if torch.cuda.is_available() else "cpu")
    factors = settings["factors"] or {}
    with stage_run(folder, "plan", config):
        rows: list[dict[str, Any]] = []
        index: list[dict[str, Any]] = []
        for kind, count in (("image", episodes), ("text", text_episodes)):
            goals = draw_goals(count, factors, sentences=kind == "text", seed=seed + HELD_OUT)
            write_json(folder / f"goals-{kind}.json", goals.to_json())
            world = make_world(goals, settings["size"])
            rows += _floors(world, goals, kind, steps, seed)
            row, outcome = _planned(world_model, world, goals, kind, steps, search, seed, films)
            rows.append(row)
            index += _film(folder / "films", kind, goals, world, outcome)
        write_json(folder / "films" / "index.json", index)
        with atomic_path(folder / "results.jsonl") as aside:
            aside.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        low, high = row["ci95"]
        print(f"{row['goal']:6} {row['policy']:7} {row['success']:6.1%}  [{low:.1%}, {high:.1%}] of {row['episodes']}")


def _floors(world: TwoRoomsVectorEnv, goals: GoalSet, kind: str, steps: int, seed: int) -> list[dict[str, Any]]:
    """Rows of the scripted policies; the expert knows positions, so it plays image goals only."""
    policies: dict[str, Policy] = {"noop": NoOp(), "random": RandomWalk(world.num_envs, seed)}
    if kind == "image":
        policies["expert"] = NoisyExpert(0.0, seed)
    rows = []
    for name, policy in policies.items():

        def act(pixels: np.ndarray, active: np.ndarray, policy: Policy = policy) -> np.ndarray:
            return policy(world.state, goals.goal, world.factor_values)

        outcome = play(world, goals, act, steps, kind == "image", f"{kind} goals, {name}")
        rows.append(_row(kind, name, goals, outcome))
    return rows


def _planned(
    model: WorldModel,
    world: TwoRoomsVectorEnv,
    goals: GoalSet,
    kind: str,
    steps: int,
    search: Search,
    seed: int,
    films: int,
) -> tuple[dict[str, Any], Outcome]:
    goal = torch.from_numpy(world.render_states(goals.goal)) if kind == "image" else goals.sentences
    controller = Controller(model, goal, search, seed)
    start = time.perf_counter()
    act: Act = controller.act
    outcome = play(world, goals, act, steps, kind == "image", f"{kind} goals, planned", films)
    seconds = (time.perf_counter() - start) / max(controller.plans, 1)
    name = type(search.planner).__name__.lower()
    return {**_row(kind, name, goals, outcome), "seconds_per_plan": seconds}, outcome


def _row(kind: str, policy: str, goals: GoalSet, outcome: Outcome) -> dict[str, Any]:
    solved = outcome.ever if kind == "image" else outcome.last
    return {"goal": kind, "policy": policy, **outcome.row(solved), "excluded": goals.excluded}


def _film(folder: Path, kind: str, goals: GoalSet, world: TwoRoomsVectorEnv, outcome: Outcome) -> list[dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = world.render_states(goals.goal)
    solved = outcome.ever if kind == "image" else outcome.last
    index = []
    for number, frames in enumerate(outcome.frames):
        name = f"{kind}-{number:02d}.webp"
        # An image goal ends its episode: the frames after it stand still.
        length = int(outcome.reached[number].argmax()) + 2 if kind == "image" and solved[number] else len(frames)
        write_film(folder / name, frames[:length], pictures[number] if kind == "image" else None)
        sentence = goals.sentences[number] if kind == "text" else None
        index.append({"file": name, "goal": kind, "sentence": sentence, "success": bool(solved[number])})
    return index
