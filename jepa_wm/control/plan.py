"""`jepa-wm plan`: plan towards image goals and sentences, and count the successes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jepa_wm.checkpoint import spec
from jepa_wm.control.album import Album
from jepa_wm.control.count import count
from jepa_wm.control.goal_kinds import draw_goals, kinds_of, read_goals
from jepa_wm.control.goals import DRAWN, GoalSet, Task, goal_seed
from jepa_wm.control.match import Match
from jepa_wm.control.pursue import OURS, Place, Pursuit, pursue
from jepa_wm.control.results import Row
from jepa_wm.control.setting import Setting, learned_from
from jepa_wm.errors import UserError
from jepa_wm.manifest import is_done, stage_run
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

COUNTING = {"check": 1, "parallel": None, "task.least_steps": 0}
"""What says how successes are counted, of the arguments of `plan`, and is as it is where it says nothing."""


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
    task: Task = DRAWN,
    check: int = 1,
    stop: bool = True,
    parallel: int | None = None,
    goal: str | None = None,
    environment: str | None = None,
) -> None:
    """Plan towards image goals and sentences in held-out episodes, and count the successes.

    An image goal is met when the environment calls it a success after any step; with `stop` the episode ends. It is
    drawn as the environment draws goals, in the two rooms a place in the other one, or was recorded so many
    steps after the start in an episode of the split "test". A sentence is met when the disc is in the region
    it names after the last step. Starts that satisfy their goal are left out and counted; so are goals that
    the model reads as lying where a constraint forbids to be. Scripted policies, or the recorded actions, play
    the same goals. docs/protocols.md has the protocols of others.

    With `goal`, a sentence or a picture, nothing is counted: `films` episodes are played towards it and filmed, where
    the factors of `task` hold; what says how to count is refused.

    Args:
        model: run folder of a world model, as `jepa-wm forecast` writes it; a saved one, or "owner/name" on the hub.
        data: folder of shards, whose environment, size and factors of variation the episodes have. Packed from
            another format, they have recorded goals alone.
        out: folder for results, goal sets, films, and the traces of the first searches.
        search: how to plan.
        episodes: episodes with an image as goal.
        text_episodes: episodes with a sentence as goal; there are none in Push-T.
        steps: environment steps in an episode at most.
        seed: seeds goal sets and searches.
        films: episodes of each kind that are filmed.
        goals: folder of an earlier run, the first of whose goals are played again instead of new ones.
        task: which starts and goals; of an earlier run's goals it changes the factors alone.
        check: steps from one look at whether an image goal is met to the next; the last step is always looked at.
        stop: whether an episode ends when its image goal is met; else it plays on, and the last step tells more.
        parallel: episodes that are planned at once, to bound the memory; all by default.
        goal: a goal of one's own, a sentence or the path of a picture, in place of goal sets.
        environment: gymnasium id of where a goal of one's own is pursued; or of where shards were recorded that do
            not say it, a world of ours or one that can be put at their states, as stable-worldmodel's can.

    Raises:
        UserError: if a folder is missing, unfinished or of another stage, the model is of another world, there are
            fewer goals than episodes, or a number is out of range.
    """
    config = dict(locals())
    config |= {"search": spec(search), "task": dataclasses.asdict(task)}
    if goal is not None:
        _check_own(goal, config)
        place = _place(model, data, environment, task.factors)
        pursue(model, out, place, search, Pursuit(goal, steps, films, seed))
        return
    setting, counts = Setting.of(model, data), {"image": episodes, "text": text_episodes}
    world, least = setting.within(environment, data), [episodes, steps, check, 1 if parallel is None else parallel]
    _check(world, counts, least, films, seed)
    if is_done(out, "plan", config):
        return
    world_model = WorldModel.from_pretrained(model).to("cuda" if torch.cuda.is_available() else "cpu")
    with stage_run(out, "plan", config):
        kinds = [kind for kind in kinds_of(world) if counts[kind]]
        sets = [_goal_set(goals, data, world, kind, counts[kind], seed, task) for kind in kinds]
        album = Album.of(world_model, data, setting.sees)
        matches = [Match(each, setting.size, steps, check, stop, parallel, setting.sees, album) for each in sets]
        found = count(world_model, search, matches, seed, films, Path(out))
        found.write(Path(out))
    _say(found.rows)


def _check_own(goal: str, config: dict[str, Any]) -> None:
    """Refuse what says how successes are counted, where none are."""
    if config["goals"] is not None:
        raise UserError(
            f"plan: got a goal of one's own, '{goal}', and goals of an earlier run, {config['goals']}; expected one of "
            "the two"
        )
    asked = {**config, "task.least_steps": config["task"]["least_steps"]}
    if wrong := {name: asked[name] for name, value in COUNTING.items() if asked[name] != value}:
        got, expected = (", ".join(f"{name} {each[name]}" for name in wrong) for each in (wrong, COUNTING))
        raise UserError(
            f"plan: got {got} with a goal of one's own; expected {expected}: nothing is counted, episodes are played "
            "one after the other, and go on where the goal is met"
        )
    # Every config has them for its goal sets.
    print(
        "plan: with a goal of one's own --films says how many are played, not episodes, text_episodes, task.ahead; "
        "they play on where it is met, whatever stop says"
    )


def _place(model: str, data: str, environment: str | None, factors: dict[str, Any] | None) -> Place:
    """Where a goal of one's own is pursued: where the shards were played, unless another environment is named."""
    shards = data if Path(data).exists() else learned_from(model)
    if shards is None:
        raise UserError(
            f"plan: {data} is not there, and no shards are known that {model} learned from; expected --data, a folder "
            "of collect whose frames are as the model's"
        )
    setting = Setting.of(model, shards)
    size, name = setting.sees or setting.size, environment or setting.within(None, shards)
    if factors and name not in OURS:
        raise UserError(f"plan: got task.factors {factors} in {name}; expected none: only worlds of ours have them")
    recorded = setting.factors if name == setting.environment else None
    there = shards if setting.environment in (None, name) else None
    return Place(name, size, {**(recorded or {}), **(factors or {})} or None, there)


def _check(environment: str, counts: Mapping[str, int], positive: list[int], films: int, seed: int) -> None:
    kinds = kinds_of(environment)
    if min(positive) < 1 or min(counts["text"], films, seed) < 0:
        raise UserError(
            f"plan: got episodes, steps, check and parallel {positive}, text_episodes {counts['text']}, films {films}, "
            f"seed {seed}; expected at least 1 of the first four, and 0 of the others"
        )
    if counts["text"] and "text" not in kinds:
        raise UserError(
            f"plan: {environment} knows no sentences as goals; got text_episodes {counts['text']}, expected "
            "0, as in configs/push_t/plan.yaml"
        )


def _goal_set(
    goals: str | None, data: str, environment: str, kind: str, episodes: int, seed: int, task: Task
) -> GoalSet:
    """The goals of one kind that an earlier run left, or else new ones."""
    if goals:
        return read_goals(goals, environment, kind).open(episodes, task.factors, goal_seed(seed))
    return draw_goals(environment, kind, data, episodes, goal_seed(seed), task)


def _say(rows: list[Row]) -> None:
    for row in rows:
        low, high = row["ci95"]
        last = "" if row["success_last"] is None else f", at the last step {row['success_last']:.1%}"
        rate = f"{row['success']:6.1%}  [{low:.1%}, {high:.1%}] of {row['episodes']}"
        print(f"{row['goal']:6} {row['policy']:7} {rate}{last}")
