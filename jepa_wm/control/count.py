"""Count successes: everybody plays the same goal sets."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from jepa_wm.control.controller import Controller
from jepa_wm.control.evaluate import make_world
from jepa_wm.control.films import write_film
from jepa_wm.control.match import MakeController, Match, Planned
from jepa_wm.control.results import Results, Row, trace_row
from jepa_wm.control.spaces import narrow
from jepa_wm.files import write_json
from jepa_wm.planning import CEM, Amortised
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel


def count(model: WorldModel, search: Search, matches: Sequence[Match], seed: int, films: int, folder: Path) -> Results:
    """Play goal sets: floors and ceilings, then who plans.

    Args:
        model: the world model; its actions are kept within the environment's bounds.
        search: how to plan.
        matches: how each kind of goals is played; without what is forbidden.
        seed: seeds searches, and what is random.
        films: episodes of each kind that are filmed.
        folder: where films go, and goal sets.
    """
    found = Results([], [], [], {})
    # What one kind does not allow is known before another is played.
    for match in [_tried(match, model, search) for match in matches]:
        kind = match.goals.kind
        write_json(folder / f"goals-{kind}.json", match.goals.to_json())
        everybody = played(match, _controllers(model, search, seed, match), seed, films)
        found.rows.extend(row for row, *_ in everybody)
        found.episodes.extend(row for _, each, _ in everybody for row in each)
        found.traces[kind] = trace_row(everybody[-1][-1].first)
        found.films.extend(write_films(folder / "films", match, everybody[-1][-1]))
    return found


def _controllers(model: WorldModel, search: Search, seed: int, match: Match) -> dict[str, MakeController]:
    """Who plays by what the model knows, by name; the last is the run's own, which is filmed and compared.

    What the model proposes, without a search, is behaviour cloning; its goals are latents, and so images.
    """
    searches = {type(search.planner).__name__.lower(): search}
    if model.proposal is not None and match.goals.kind == "image" and not isinstance(search.planner, Amortised):
        searches = {"cloned": dataclasses.replace(search, planner=Amortised()), **searches}
    return {name: _maker(model, own, seed, match.sees) for name, own in searches.items()}


def _maker(model: WorldModel, search: Search, seed: int, sees: int | None) -> MakeController:
    return lambda goal, world: Controller(model, goal, search, seed, world, sees)


def _tried(match: Match, model: WorldModel, search: Search) -> Match:
    """The match without the goals that are forbidden.

    What cannot be planned for is refused before anything is played or written: one step is, of a single candidate.
    """
    match = match.allowed(model, search)
    world = make_world(match.goals, match.size)
    narrow(model.bounds, world.single_action_space)
    # The search itself is only set up: what is tried stands in for it.
    _maker(model, search, 0, match.sees)(match.goals.wanted(world), world)
    planner = Amortised() if getattr(search.planner, "proposes", False) else CEM(1, 1, 1)
    maker = _maker(model, dataclasses.replace(search, planner=planner, budget=None), 0, match.sees)
    dataclasses.replace(match, steps=1).planned("a first step", maker, 0)
    return match


def played(
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
        row |= {name: getattr(planned, name) for name in ("seconds_per_plan", "seconds_each", "evaluations")}
        row["broken_plans"] = planned.broken
        played.append((row, episodes, planned))
    return played


def write_films(folder: Path, match: Match, planned: Planned) -> list[Row]:
    """Write the films of what was planned; a row of each."""
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
        told = {"goal": goals.kind, "sentence": sentence, "success": solved, "imagined": planned.by}
        index.append({"file": name, **told})
    return index
