"""What is kept of played episodes: a row for each policy, and one for each episode."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jepa_wm.contracts import Plan
from jepa_wm.control.evaluate import Outcome
from jepa_wm.control.goals import GoalSet
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, write_json
from jepa_wm.statistics import rate_interval

Row = dict[str, Any]


class Results(NamedTuple):
    """What a run of `plan` found: rows of policies, of episodes and of films, and the trace of the first search for
    each kind of goal."""

    rows: list[Row]
    episodes: list[Row]
    films: list[Row]
    traces: dict[str, Row]

    def write(self, folder: Path) -> None:
        """Write all of it into a run's folder."""
        write_json(folder / "films" / "index.json", self.films)
        write_json(folder / FIRST, self.traces)
        write_rows(folder / EPISODES, self.episodes)
        write_rows(folder / RESULTS, self.rows)


RESULTS, EPISODES, FIRST = "results.jsonl", "episodes.jsonl", "plan.json"
TOLD = ("goal", "goals", "episode", "source", "policy", "success", "success_last")
"""What a row of an episode must have for runs to be compared."""
SPENT = ("evaluations", "seconds_each")
"""What a plan of one environment took: candidates, and its share of the seconds of those that are planned at once."""


def policy_row(policy: str, goals: GoalSet, outcome: Outcome, stopped: bool) -> Row:
    """How often a policy reached its goals, over the episodes of a goal set.

    `success` is what counts for these goals, with its interval; `success_last` is None where an episode ended with its
    goal, so that there was no last step to speak of. `sources` counts what the episodes come from: where there are
    fewer than episodes, these are not independent, and the interval is as much wider.
    """
    solved, sources = outcome.solved(goals.ends), goals.sources
    return {
        "goal": goals.kind,
        "policy": policy,
        "success": float(solved.mean()),
        "success_any": float(outcome.ever.mean()),
        "success_last": None if stopped else float(outcome.last.mean()),
        "ci95": list(rate_interval(solved, sources)),
        "episodes": len(solved),
        "sources": len(np.unique(sources)),
        "excluded": goals.excluded,
        "goals": goals.identity,
    }


def episode_rows(policy: str, goals: GoalSet, outcome: Outcome, stopped: bool) -> list[Row]:
    """Each episode of a policy: which, from what source, and the step, from 1, that first met its goal, if any."""
    return [
        {
            "goal": goals.kind,
            "goals": goals.identity,
            "episode": name,
            "source": source,
            "policy": policy,
            "success": success,
            "success_any": ever,
            "success_last": None if stopped else last,
            "first": first or None,
            "seconds": round(seconds, 6),
        }
        for name, source, success, ever, last, first, seconds in zip(
            goals.identities,
            goals.sources.tolist(),
            outcome.solved(goals.ends).tolist(),
            outcome.ever.tolist(),
            outcome.last.tolist(),
            outcome.first.tolist(),
            outcome.seconds.tolist(),
            strict=True,
        )
    ]


def trace_row(plan: Plan | None) -> Row:
    """The trace of a plan as lists, as JSON holds them: None is what is infinite or no number."""
    return {name: _finite(values.tolist()) for name, values in plan.trace.items()} if plan else {}


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value if math.isfinite(value) else None


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines."""
    with atomic_path(path) as aside:
        aside.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_spent(folder: str) -> dict[tuple[str, str], Row]:
    """What a plan of one environment took, `SPENT`, by the kind of goal and the policy of a run of `plan`.

    None is what was not kept, as in runs of earlier versions.

    Raises:
        UserError: if its results are not there, or are broken.
    """
    path = Path(folder) / RESULTS
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return {(row["goal"], row["policy"]): {name: row.get(name) for name in SPENT} for row in rows}
    except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is missing or broken ({error!r}); plan again, into another folder") from None


def read_episodes(folder: str) -> list[Row]:
    """The rows of every episode that a run of `plan` played.

    Raises:
        UserError: if they are not there, or are no such rows.
    """
    path = Path(folder) / EPISODES
    if not path.is_file():
        raise UserError(f"{path} is missing; expected a folder that plan wrote: plan again, into another folder")
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        told = [{name: row[name] for name in TOLD} for row in rows]
        return [{**row, **own, "success": bool(row["success"])} for row, own in zip(rows, told, strict=True)]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is broken ({error!r}); plan again, into another folder") from None
