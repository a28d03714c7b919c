"""`jepa-wm plan`: plan towards image goals and sentences, and count the successes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch

from jepa_wm.checkpoint import spec
from jepa_wm.control.controller import Controller
from jepa_wm.control.evaluate import make_world
from jepa_wm.control.films import write_film
from jepa_wm.control.goal_kinds import draw_goals, kinds_of, read_goals
from jepa_wm.control.goals import DRAWN, GoalSet, Task, goal_seed
from jepa_wm.control.match import MakeController, Match, Planned
from jepa_wm.control.pursue import Place, Pursuit, pursue
from jepa_wm.control.results import EPISODES, FIRST, RESULTS, Row, trace_row, write_rows
from jepa_wm.errors import UserError
from jepa_wm.files import write_json
from jepa_wm.manifest import is_complete, is_done, read_manifest, stage_run
from jepa_wm.model_folder import NAME as SAVED
from jepa_wm.planning import CEM, Amortised
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel


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

    An image goal is met when the environment calls it a success after any step, and the episode ends. It is
    drawn as the environment draws goals, in the two rooms a place in the other one, or was recorded so many
    steps after the start in an episode of the split "test". A sentence is met when the disc is in the region
    it names after the last step. Starts that satisfy their goal are left out and counted; so are goals that
    the model reads as lying where a constraint forbids to be. Scripted policies, or the recorded actions, play
    the same goals. docs/protocols.md has the protocols of others.

    With `goal`, a sentence or a picture, nothing is counted: `films` episodes are played towards it and filmed.

    Args:
        model: run folder of a world model, as `jepa-wm forecast` writes it; a saved one, or "owner/name" on the hub.
        data: folder of shards, whose environment, size and factors of variation the episodes have.
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
        environment: gymnasium id of where a goal of one's own is pursued; that of the shards by default.

    Raises:
        UserError: if a folder is missing, unfinished or of another stage, the model is of another world, there are
            fewer goals than episodes, or a number is out of range.
    """
    config = dict(locals())
    config |= {"search": spec(search), "task": dataclasses.asdict(task)}
    if _is_own(goal, goals, environment):
        pursue(model, out, _place(model, data, environment), search, Pursuit(goal, steps, films, seed))
        return
    settings, counts = _world(model, data), {"image": episodes, "text": text_episodes}
    _check(settings["environment"], counts, [episodes, steps, check, 1 if parallel is None else parallel], films, seed)
    folder = Path(out)
    if is_done(out, "plan", config):
        return
    world_model = WorldModel.from_pretrained(model).to("cuda" if torch.cuda.is_available() else "cpu")
    rows, episode_rows, index, traces = list[Row](), list[Row](), list[Row](), dict[str, Row]()
    with stage_run(folder, "plan", config):
        matches = {}
        for kind in (kind for kind in kinds_of(settings["environment"]) if counts[kind]):
            found = _goal_set(goals, data, settings["environment"], kind, counts[kind], seed, task)
            matches[kind] = _tried(Match(found, settings["size"], steps, check, stop, parallel), world_model, search)
        for kind, match in matches.items():
            write_json(folder / f"goals-{kind}.json", match.goals.to_json())
            played = _played(match, _controllers(world_model, search, seed, kind), seed, films)
            rows += [row for row, *_ in played]
            episode_rows += [row for _, each, _ in played for row in each]
            traces[kind] = trace_row(played[-1][-1].first)
            index += _film(folder / "films", match, played[-1][-1])
        write_json(folder / "films" / "index.json", index)
        write_json(folder / FIRST, traces)
        write_rows(folder / EPISODES, episode_rows)
        write_rows(folder / RESULTS, rows)
    _say(rows)


def _is_own(goal: str | None, goals: str | None, environment: str | None) -> TypeGuard[str]:
    """Whether a goal of one's own is given, and nothing that does not go with it."""
    if goal is not None and goals is not None:
        raise UserError(
            f"plan: got a goal of one's own, '{goal}', and goals of an earlier run, {goals}; expected one of the two"
        )
    if goal is None and environment is not None:
        raise UserError(
            f"plan: got environment {environment} without a goal; expected --goal beside it: success is counted in the "
            "environment of the shards, --data"
        )
    return goal is not None


def _place(model: str, data: str, environment: str | None) -> Place:
    """Where a goal of one's own is pursued: where the shards were played, unless another environment is named."""
    shards = data if Path(data).exists() else _learned_from(model)
    if shards is None:
        raise UserError(
            f"plan: {data} is not there, and no shards are known that {model} learned from; expected --data, a folder "
            "of collect whose frames are as the model's"
        )
    settings = _world(model, shards)
    if environment in (None, settings["environment"]):
        return Place(settings["environment"], settings["size"], settings["factors"])
    return Place(environment, settings["size"])


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


def _world(model: str, data: str) -> dict[str, Any]:
    """The settings of a collection, if it is of a world that the model was trained in."""
    settings: dict[str, Any] = read_manifest(data, "collect")["config"]
    trained = _trained_in(model)
    if trained and settings["environment"] not in trained:
        raise UserError(
            f"plan: {model} was trained in {', '.join(sorted(trained))}; got {data}, which is of "
            f"{settings['environment']}: plan in the world that the model knows"
        )
    return settings


def _trained_in(model: str) -> set[str]:
    """The environments that a run's model was trained in, as far as that is known."""
    return {source["environment"] for source in _sources(model).values() if source.get("environment")}


def _learned_from(model: str) -> str | None:
    """A folder of collected shards that a run's model learned from, if one is there still."""
    there = [folder for folder in _sources(model) if is_complete(folder)]
    return next((folder for folder in there if read_manifest(folder)["stage"] == "collect"), None)


def _sources(model: str) -> dict[str, dict[str, Any]]:
    """What a run says of the data that its model learned from, by folder; of a saved model it is not known."""
    if not Path(model).exists() or (Path(model) / SAVED).is_file():
        return {}
    found: dict[str, dict[str, Any]] = read_manifest(model, "forecast").get("data", {})
    return found


def _goal_set(
    goals: str | None, data: str, environment: str, kind: str, episodes: int, seed: int, task: Task
) -> GoalSet:
    """The goals of one kind that an earlier run left, or else new ones."""
    if goals:
        return read_goals(goals, environment, kind).open(episodes, task.factors, goal_seed(seed))
    return draw_goals(environment, kind, data, episodes, goal_seed(seed), task)


def _controllers(model: WorldModel, search: Search, seed: int, kind: str) -> dict[str, MakeController]:
    """Who plays by what the model knows, by name; the last is the run's own, which is filmed and compared.

    What the model proposes, without a search, is behaviour cloning; its goals are latents, and so images.
    """
    searches = {type(search.planner).__name__.lower(): search}
    if model.proposal is not None and kind == "image" and not isinstance(search.planner, Amortised):
        searches = {"cloned": dataclasses.replace(search, planner=Amortised()), **searches}

    return {name: _maker(model, own, seed) for name, own in searches.items()}


def _maker(model: WorldModel, search: Search, seed: int) -> MakeController:
    return lambda goal, world: Controller(model, goal, search, seed, world)


def _tried(match: Match, model: WorldModel, search: Search) -> Match:
    """The match without the goals that are forbidden.

    What cannot be planned for is refused before anything is played or written: one step is, of a single candidate.
    """
    match = match.allowed(model, search)
    # The search itself is only set up: what is tried stands in for it.
    world = make_world(match.goals, match.size)
    _maker(model, search, 0)(match.goals.wanted(world), world)
    planner = Amortised() if getattr(search.planner, "proposes", False) else CEM(1, 1, 1)
    maker = _maker(model, dataclasses.replace(search, planner=planner, budget=None), 0)
    dataclasses.replace(match, steps=1).planned("a first step", maker, 0)
    return match


def _played(
    match: Match, makers: Mapping[str, MakeController], seed: int, films: int
) -> list[tuple[Row, list[Row], Planned]]:
    """What every policy reached: floors and ceilings, then those that plan."""
    played = []
    for name, policy in match.goals.policies(seed).items():
        outcome = match.scripted(name, policy)
        played.append((*match.rows(name, outcome), Planned(outcome)))
    for name, make in makers.items():
        planned = match.planned(name, make, films)
        row, episodes = match.rows(name, planned.outcome)
        row |= {"seconds_per_plan": planned.seconds_per_plan, "broken_plans": planned.broken}
        played.append((row, episodes, planned))
    return played


def _film(folder: Path, match: Match, planned: Planned) -> list[Row]:
    folder.mkdir(parents=True, exist_ok=True)
    goals, sentences, outcome = match.goals, match.goals.sentences, planned.outcome
    # Only what is filmed is drawn.
    filmed = range(len(outcome.frames))
    pictures = make_world(goals, match.size).render_states(goals.goal) if filmed and not sentences else None
    index = []
    for number, solved in zip(filmed, outcome.solved(goals.ends).tolist(), strict=False):
        name, frames = f"{goals.kind}-{number:02d}.webp", outcome.frames[number]
        # Where a goal ends its episode, the frames after it stand still.
        length = int(outcome.first[number]) + 1 if match.stopped and solved else len(frames)
        imagined = planned.imagined[number][:length] if planned.imagined else None
        write_film(folder / name, frames[:length], None if pictures is None else pictures[number], imagined)
        sentence = sentences[number] if sentences else None
        index.append({"file": name, "goal": goals.kind, "sentence": sentence, "success": solved})
    return index


def _say(rows: list[Row]) -> None:
    for row in rows:
        low, high = row["ci95"]
        print(f"{row['goal']:6} {row['policy']:7} {row['success']:6.1%}  [{low:.1%}, {high:.1%}] of {row['episodes']}")
