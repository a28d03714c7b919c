"""The page of a single run of `plan`, or of `plan --goal`."""

from pathlib import Path

from jepa_wm.manifest import is_complete, read_manifest
from probes.report import planning, record, search
from probes.report.html import Markup, document, element, image, missing, note, section, table
from probes.report.plans import read_plans
from probes.report.rows import Row, read_rows
from probes.report.text import MISSING, count, number

STAGES = ("plan", "plan --goal")
THERE = {True: "there", False: "not there", None: MISSING}


def is_plan(folder: Path) -> bool:
    """Whether a folder is itself a finished run of `plan`, and not one with runs in it."""
    return is_complete(folder) and read_manifest(folder)["stage"] in STAGES


def plan_page(folder: Path) -> str:
    """One HTML document about a run of `plan` that needs no other file; the same run gives the same text.

    Raises:
        UserError: if the folder is no such run, or a results file in it is malformed.
    """
    manifest = read_manifest(folder, *STAGES)
    config = manifest.get("config") or {}
    if manifest["stage"] == "plan":
        plans = read_plans(folder)
        parts = [planning.planning(plans), search.searches(plans), planning.films(plans)]
        lead = f"Goals in the world of {config.get('data', MISSING)}."
    else:
        parts = [_episodes(folder)]
        lead = f"Towards “{config.get('goal', MISSING)}” in {config.get('environment', MISSING)}."
    title = f"Planning with {config.get('model', MISSING)}"
    return document(title, element("h1", title), element("p", lead, class_="lead"), *parts, record.manifest(manifest))


def _episodes(folder: Path) -> Markup:
    """What was played towards a goal of a user's own, of which nobody knows whether it was reached."""
    rows = read_rows(folder / "episodes.jsonl", {"episode", "seed", "steps", "cost_first", "cost_last", "film"})
    if not rows:
        return section("Episodes", missing(f"{folder.name}/episodes.jsonl"))
    header = ("episode", "seed", "steps", "cost of the first plan", "of the last", "at first", "at last")
    text = (
        "Costs are what a plan imagines; that they fall is no success. Whether the disc was in the region that the "
        "goal names, at first and at last, is known in the two rooms alone. " + planning.PANELS
    )
    films = [_film(folder, row) for row in rows]
    return section("Episodes", table(header, map(_cells, rows)), element("div", *films, class_="films"), note(text))


def _cells(row: Row) -> list[object]:
    costs = [number(row[name]) for name in ("cost_first", "cost_last")]
    return [
        str(row["episode"]),
        str(row["seed"]),
        count(row["steps"]),
        *costs,
        *(THERE[row.get(name)] for name in ("there_first", "there_last")),
    ]


def _film(folder: Path, row: Row) -> Markup:
    path = folder / "films" / str(row["film"]).rpartition("/")[2]
    name = f"episode {row['episode']}"
    by = f" ({planning.NEAREST})" if row.get("imagined") == "nearest" else ""
    if not path.is_file():
        return missing(path.name)
    return element("figure", image(path, name), element("figcaption", f"{name}{by}"))
