"""`jepa-wm plan`: plan towards image goals and sentences, and count the successes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jepa_wm.checkpoint import spec
from jepa_wm.control.controller import Controller
from jepa_wm.control.evaluate import make_world
from jepa_wm.control.films import write_film
from jepa_wm.control.goal_kinds import draw_goals, kinds_of, read_goals
from jepa_wm.control.goals import DRAWN, Task
from jepa_wm.control.match import MakeController, Match, Planned
from jepa_wm.control.results import EPISODES, FIRST, RESULTS, Row, trace_row, write_rows
from jepa_wm.errors import UserError
from jepa_wm.files import write_json
from jepa_wm.manifest import is_done, read_manifest, stage_run
from jepa_wm.model_folder import NAME as SAVED
from jepa_wm.planning import CEM, Amortised
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

HELD_OUT = 1_000_003
"""Seeds in a row that one goal set has for its environments. The first so many are for collected episodes."""


def goal_seed(seed: int) -> int:
    """The first environment's seed of a goal set: those of two seeds share no goal, nor any with collected episodes."""
    return HELD_OUT * (seed + 1)


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
) -> None:
    """Plan towards image goals and sentences in held-out episodes, and count the successes.

    An image goal is met when the environment calls it a success after any step, and the episode ends. It is
    drawn as the environment draws goals, in the two rooms a place in the other one, or was recorded so many
    steps after the start in an episode of the split "test". A sentence is met when the disc is in the region
    it names after the last step. Starts that satisfy their goal are left out and counted; so are goals that
    the model reads as lying where a constraint forbids to be. Scripted policies, or the recorded actions, play
    the same goals. docs/protocols.md has the protocols of others.

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

    Raises:
        UserError: if a folder is missing, unfinished or of another stage, the model is of another world, there are
            fewer goals than episodes, or a number is out of range.
    """
    config = dict(locals())
    config |= {"search": spec(search), "task": dataclasses.asdict(task)}
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
            if goals:
                found = read_goals(goals, settings["environment"], kind)
                found = found.open(counts[kind], task.factors, goal_seed(seed))
            else:
                found = draw_goals(settings["environment"], kind, data, counts[kind], goal_seed(seed), task)
            match = Match(found, settings["size"], steps, check, stop, parallel)
            matches[kind] = match.allowed(world_model, search)
            _try(matches[kind], world_model, search)
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
    for row in rows:
        low, high = row["ci95"]
        print(f"{row['goal']:6} {row['policy']:7} {row['success']:6.1%}  [{low:.1%}, {high:.1%}] of {row['episodes']}")


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
    """The environments that a run's model was trained in, as far as that is known; of a saved model it is not."""
    if not Path(model).exists() or (Path(model) / SAVED).is_file():
        return set()
    return {source.get("environment") for source in read_manifest(model, "forecast").get("data", {}).values()} - {None}


def _controllers(model: WorldModel, search: Search, seed: int, kind: str) -> dict[str, MakeController]:
    """Who plays by what the model knows, by name; the last is the run's own, which is filmed and compared.

    What the model proposes, without a search, is behaviour cloning; its goals are latents, and so images.
    """
    searches = {type(search.planner).__name__.lower(): search}
    if model.proposal is not None and kind == "image" and not isinstance(search.planner, Amortised):
        searches = {"cloned": dataclasses.replace(search, planner=Amortised()), **searches}

    return {name: _maker(model, own, seed) for name, own in searches.items()}


def _maker(model: WorldModel, search: Search, seed: int) -> MakeController:
    return lambda goals, world: Controller(model, goals.wanted(world), search, seed, world)


def _try(match: Match, model: WorldModel, search: Search) -> None:
    """Refuse what cannot be planned for before anything is played or written: one step is, of a single candidate."""
    # The search itself is only set up: what is tried stands in for it.
    _maker(model, search, 0)(match.goals, make_world(match.goals, match.size))
    planner = Amortised() if getattr(search.planner, "proposes", False) else CEM(1, 1, 1)
    maker = _maker(model, dataclasses.replace(search, planner=planner, budget=None), 0)
    dataclasses.replace(match, steps=1).planned("a first step", maker, 0)


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
