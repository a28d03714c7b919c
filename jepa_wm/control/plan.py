"""`jepa-wm plan`: plan towards image goals and sentences, and count the successes."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa_wm.control.controller import Controller, Search
from jepa_wm.control.evaluate import Outcome, make_world, play
from jepa_wm.control.films import write_film
from jepa_wm.control.goals import GoalSet, kinds_of, read_goals
from jepa_wm.envs.policies import Policy
from jepa_wm.envs.world import VectorWorld
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
    goals: str | None = None,
) -> None:
    """Plan towards image goals and sentences in held-out episodes, and count the successes.

    An image goal is met when the environment calls it a success after any step, and the episode ends.
    In the two rooms it is a place in the other one; a sentence is met when the disc is in the region it
    names after the last step. In Push-T starts and goals are 25 steps apart in episodes of the split
    "test". Starts that satisfy their goal are left out and counted. Scripted policies, or the recorded
    actions, play the same goals.

    Args:
        model: run folder of a world model, as `jepa-wm forecast` writes it.
        data: folder of shards, whose environment, size and factors of variation the episodes have.
        out: folder for results, goal sets and films.
        search: how to plan.
        episodes: episodes with an image as goal.
        text_episodes: episodes with a sentence as goal; there are none in Push-T.
        steps: environment steps in an episode at most.
        seed: seeds goal sets and searches.
        films: episodes of each kind that are filmed.
        goals: folder of an earlier run, whose goal sets are played again instead of new ones.

    Raises:
        UserError: if a folder is missing, unfinished or of another stage, the model is of another world, or a number
            is out of range.
    """
    config = dict(locals())
    config["search"] = {**vars(search), "planner": {"class": type(search.planner).__name__, **vars(search.planner)}}
    settings = _world(model, data)
    kinds, counts = kinds_of(settings["environment"]), {"image": episodes, "text": text_episodes}
    if min(episodes, steps) < 1 or min(text_episodes, films) < 0:
        raise UserError(
            f"plan: got episodes {episodes}, text_episodes {text_episodes}, steps {steps}, films {films}; "
            "expected at least 1, 0, 1 and 0"
        )
    if text_episodes and "text" not in kinds:
        raise UserError(
            f"plan: {settings['environment']} knows no sentences as goals; got text_episodes {text_episodes}, expected "
            "0, as in configs/push_t/plan.yaml"
        )
    folder = Path(out)
    if is_complete(folder):
        read_manifest(folder, "plan")
        print(f"{out} is complete already")
        return
    world_model = WorldModel.from_pretrained(model).to("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[dict[str, Any]] = []
    index: list[dict[str, Any]] = []
    with stage_run(folder, "plan", config):
        for name, kind in kinds.items():
            if not counts[name]:
                continue
            found = read_goals(goals, kind) if goals else kind.draw(data, counts[name], seed + HELD_OUT)
            write_json(folder / f"goals-{name}.json", found.to_json())
            world = make_world(found, settings["size"])
            rows += _scripted(world, found, steps, seed)
            row, outcome = _planned(
                Controller(world_model, found.wanted(world), search, seed), world, found, steps, films
            )
            rows.append(row)
            index += _film(folder / "films", found, world, outcome)
        write_json(folder / "films" / "index.json", index)
        with atomic_path(folder / "results.jsonl") as aside:
            aside.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        low, high = row["ci95"]
        print(f"{row['goal']:6} {row['policy']:7} {row['success']:6.1%}  [{low:.1%}, {high:.1%}] of {row['episodes']}")


def _world(model: str, data: str) -> dict[str, Any]:
    """The settings of a collection, if it is of a world that the model was trained in."""
    settings: dict[str, Any] = read_manifest(data, "collect")["config"]
    trained = {source.get("environment") for source in read_manifest(model, "forecast").get("data", {}).values()}
    if trained - {None} and settings["environment"] not in trained:
        raise UserError(
            f"plan: {model} was trained in {', '.join(sorted(trained - {None}))}; got {data}, which is of "
            f"{settings['environment']}: plan in the world that the model knows"
        )
    return settings


def _scripted(world: VectorWorld, goals: GoalSet, steps: int, seed: int) -> list[dict[str, Any]]:
    """Rows of the floors and ceilings."""
    rows = []
    for name, policy in goals.policies(seed).items():

        def act(pixels: np.ndarray, active: np.ndarray, state: np.ndarray, policy: Policy = policy) -> np.ndarray:
            return policy(state, goals.goal, world.factor_values)

        outcome = play(world, goals, act, steps, goals.ends, f"{goals.kind} goals, {name}")
        rows.append(_row(name, goals, outcome))
    return rows


def _planned(
    controller: Controller, world: VectorWorld, goals: GoalSet, steps: int, films: int
) -> tuple[dict[str, Any], Outcome]:
    start = time.perf_counter()
    outcome = play(world, goals, controller.act, steps, goals.ends, f"{goals.kind} goals, planned", films)
    seconds = (time.perf_counter() - start) / max(controller.plans, 1)
    name = type(controller.search.planner).__name__.lower()
    return {**_row(name, goals, outcome), "seconds_per_plan": seconds}, outcome


def _row(policy: str, goals: GoalSet, outcome: Outcome) -> dict[str, Any]:
    solved = outcome.solved(goals.ends)
    return {"goal": goals.kind, "policy": policy, **outcome.row(solved), "excluded": goals.excluded}


def _film(folder: Path, goals: GoalSet, world: VectorWorld, outcome: Outcome) -> list[dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    pictures, sentences, solved = world.render_states(goals.goal), goals.sentences, outcome.solved(goals.ends)
    index = []
    for number, frames in enumerate(outcome.frames):
        name = f"{goals.kind}-{number:02d}.webp"
        # Where a goal ends its episode, the frames after it stand still.
        length = int(outcome.reached[number].argmax()) + 2 if goals.ends and solved[number] else len(frames)
        write_film(folder / name, frames[:length], None if sentences else pictures[number])
        sentence = sentences[number] if sentences else None
        index.append({"file": name, "goal": goals.kind, "sentence": sentence, "success": bool(solved[number])})
    return index
