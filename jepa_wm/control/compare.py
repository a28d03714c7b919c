"""`jepa-wm compare`: several planners on the same goals."""

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from jepa_wm.control.paired import paired_interval, sign_flip_test
from jepa_wm.control.results import EPISODES, Row, read_episodes, read_spent
from jepa_wm.errors import UserError
from jepa_wm.files import write_json
from jepa_wm.manifest import read_manifest
from jepa_wm.statistics import holm, rate_interval

RULES = ("steps", "check")
"""What must be alike for two successes to mean the same."""
COUNTED = {"image": {"any": "success", "last": "success_last"}, "text": {"last": "success"}}
"""At which steps goals of each kind count when they are met, and what says so in the row of an episode."""
SAID = {"any": "at any step", "last": "at the last step"}


def compare(runs: list[str], out: str | None = None) -> None:
    """Compare the planners of several runs of `plan` on the same goals, episode by episode, with the first.

    For each kind of goals: how often each planner reached them, with an interval; how much oftener than the first
    run's, with the interval of the difference; and whether chance alone would part them as far. That is McNemar's
    exact test, or its like over whole sources where episodes share one. Images are counted at any step and at the last
    one, which tells whether they were kept; not at the last where episodes of a run ended with their goals. All
    p-values together are corrected by Holm. Beside them the candidates and seconds of a plan, and the first run's
    floors.

    Args:
        runs: folders that `plan` wrote, played on the same goals, as with its option `goals`.
        out: a JSON file for the table.

    Raises:
        UserError: if there are fewer than two, one is no such folder, or they were played on other goals or by other
            rules.
    """
    if len(runs) < 2:
        raise UserError(f"compare: got runs {runs}; expected at least two folders that plan wrote")
    played = {run: read_episodes(run) for run in runs}
    if len({Path(run).resolve() for run in runs}) < len(runs):
        raise UserError(f"compare: got runs {runs}; expected each folder once")
    for run, rows in played.items():
        _check_whole(run, rows)
    _same_rules(runs)
    table: list[dict[str, Any]] = []
    for kind in _same_goals(played):
        for step, name in COUNTED[kind].items():
            counted = {run: _counted(rows, kind, name) for run, rows in played.items()}
            if stopped := [run for run, rows in counted.items() if any(row["success"] is None for row in rows)]:
                ended = f"episodes of {', '.join(stopped)} end with their goals"
                print(f"{kind} goals {SAID[step]}: left out, as {ended}; plan with --stop=false to compare it")
            else:
                table += [{"goal": kind, "step": step, **row} for row in compare_rows(counted)]
    tested = [row for row in table if "p" in row]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p
    spent = {run: read_spent(run) for run in runs}
    for row in table:
        row |= spent[row["run"]].get((row["goal"], row["policy"]), {})
    for (kind, step), block in groupby(table, lambda row: (row["goal"], row["step"])):
        print(f"{kind} goals {SAID[step]}", *(_line(row, max(map(len, runs))) for row in block), sep="\n  ")
    if out:
        write_json(Path(out), table)


def compare_rows(played: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """The rows of the table for one kind of goals: the first run's floors, and every run's planner.

    Args:
        played: episodes of each run, on the same goals; "success" says whether one counts.
    """
    policies = {run: _by_policy(rows) for run, rows in played.items()}
    first, *others = played
    own = {run: list(found)[-1] for run, found in policies.items()}
    _same_episodes({run: found[own[run]] for run, found in policies.items()})
    table = [_rated(first, name, rows) for name, rows in policies[first].items()]
    before = policies[first][own[first]]
    for run in others:
        rows = policies[run][own[run]]
        table.append({**_rated(run, own[run], rows), **difference(before, rows)})
    return table


def difference(before: list[Row], after: list[Row]) -> dict[str, Any]:
    """How much oftener episodes were a success in `after` than the same ones in `before`."""
    differences = _hits(after).astype(int) - _hits(before).astype(int)
    sources = np.array([str(row["source"]) for row in before])
    return {
        "difference": float(differences.mean()),
        "difference_ci95": list(paired_interval(differences, sources)),
        "gained": int((differences > 0).sum()),
        "lost": int((differences < 0).sum()),
        "p": sign_flip_test(differences, sources),
    }


def _rated(run: str, policy: str, rows: list[Row]) -> dict[str, Any]:
    hits, sources = _hits(rows), [row["source"] for row in rows]
    return {
        "run": run,
        "policy": policy,
        "success": float(hits.mean()),
        "ci95": list(rate_interval(hits, sources)),
        "episodes": len(rows),
        "sources": len(set(sources)),
    }


def _hits(rows: list[Row]) -> np.ndarray:
    return np.array([row["success"] for row in rows], dtype=bool)


def _counted(rows: list[Row], kind: str, name: str) -> list[Row]:
    """The episodes on one kind of goals, with what `name` says as their success."""
    return [{**row, "success": row[name]} for row in rows if row["goal"] == kind]


def _by_policy(rows: list[Row]) -> dict[str, list[Row]]:
    """The episodes of each policy; the run's planner is the last."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["policy"], []).append(row)
    return found


def _check_whole(run: str, rows: list[Row]) -> None:
    """Refuse a file that has lost its end, where the run's planner stands."""
    search = read_manifest(run, "plan")["config"]["search"]["init_args"]
    planner = search["planner"]["class_path"].rpartition(".")[2].lower()
    last = {row["goal"]: row["policy"] for row in rows}
    if not last or set(last.values()) != {planner}:
        raise UserError(
            f"compare: {Path(run) / EPISODES} ends with the episodes of {sorted(set(last.values())) or 'nobody'}; "
            f"expected '{planner}', whose run it is: the file is broken, plan again"
        )


def _same_rules(runs: list[str]) -> None:
    rules = [{name: read_manifest(run, "plan")["config"][name] for name in RULES} for run in runs]
    for run, own in zip(runs, rules, strict=True):
        if own != rules[0]:
            raise UserError(
                f"compare: {run} was played by {own}, {runs[0]} by {rules[0]}; expected the same: plan with them again"
            )


def _same_goals(played: dict[str, list[Row]]) -> list[str]:
    """The kinds of goals that every run played, if they are the same goals."""
    sets = {run: {row["goal"]: row["goals"] for row in rows} for run, rows in played.items()}
    first, expected = next(iter(sets.items()))
    for run, found in sets.items():
        if found != expected:
            raise UserError(
                f"compare: {run} was played on the goals {found}, {first} on {expected}; expected the same: plan again "
                f"with --goals={first} and as many episodes"
            )
    return list(expected)


def _same_episodes(played: dict[str, list[Row]]) -> None:
    """Refuse runs whose episodes are not the first run's, one by one, as where a file has lost its end."""
    names = {run: [row["episode"] for row in rows] for run, rows in played.items()}
    first, expected = next(iter(names.items()))
    for run, found in names.items():
        if found != expected:
            raise UserError(
                f"compare: {run} has {len(found)} episodes, other ones or in another order than the {len(expected)} of "
                f"{first}; expected the same: {Path(run) / EPISODES} is broken, plan again"
            )


def _line(row: dict[str, Any], wide: int) -> str:
    low, high = row["ci95"]
    text = f"{row['run']:{wide}} {row['policy']:7} {row['success']:6.1%}  [{low:.1%}, {high:.1%}]"
    text += f" of {row['episodes']}"
    if row["sources"] < row["episodes"]:
        text += f" from {row['sources']} recorded"
    if (evaluations := row.get("evaluations")) is not None:
        text += f"; {evaluations:.0f} candidates and {row['seconds_each'] * 1000:.3g} ms a plan"
    if "p" in row:
        low, high = row["difference_ci95"]
        text += f"; {row['difference']:+.1%} [{low:+.1%}, {high:+.1%}], p {row['p']:.2g}, Holm {row['p_holm']:.2g}"
    return text
