"""What came out of planning: success of each policy, and films."""

from collections.abc import Sequence
from typing import Any

from probes.report.html import Markup, bar, element, image, missing, note, section, table
from probes.report.plans import CONTROLS, Plans
from probes.report.rows import Row
from probes.report.text import count, interval, number, percent

GOALS = {
    "image": "An image goal is reached if it is met at any step.",
    "text": "A text goal is reached if the disc is in the named region at the last step.",
}
"""When a kind of goal counts as reached."""
PANELS = (
    "From left to right: what happened; what the plan in use had imagined for the end of its block of actions, drawn "
    "by the model's head, or else, where it says so, the recorded frame whose latents are nearest, in which what they "
    "do not hold is arbitrary; and the goal, where it is a picture."
)
"""What a film shows."""
NEAREST = "imagined: nearest recorded frame"
"""What is said of a film whose model draws no pictures."""


def planning(plans: Plans) -> Markup:
    """Success of each policy towards each kind of goal."""
    if not plans.rows:
        return section("Planning", missing(f"{plans.folder.name}/results.jsonl"))
    rows = [_planning_row(row) for row in sorted(plans.rows, key=_planning_order)]
    rates = ("reached", "95 % interval", "at any step", "at the last step")
    header = ("goal", "policy", "", *rates, "episodes", "sources", "left out", "candidates", "ms / plan")
    text = [
        "Held-out starts and goals; intervals are Wilson's, wider where episodes share a source, a recorded episode.",
        "Where an episode ends with its goal there is no figure for the last step.",
        *(said for goal, said in GOALS.items() if plans.planned(goal)),
        "Starts that are solved already are left out. Candidates and milliseconds are of a plan of one environment:",
        "its share of the time of all that are planned at once, so that a larger batch takes less.",
    ]
    return section("Planning", table(header, rows, left=3), note(" ".join(text)))


def _planning_row(row: Row) -> Sequence[object]:
    return (
        row["goal"],
        CONTROLS.get(row["policy"], f"{row['policy'].upper()} in the world model"),
        bar(row["success"], row.get("ci95")),
        percent(row["success"]),
        interval(row.get("ci95"), percent),
        percent(row.get("success_any")),
        percent(row.get("success_last")),
        count(row.get("episodes")),
        count(row.get("sources")),
        count(row.get("excluded")),
        count(None if row.get("evaluations") is None else round(row["evaluations"])),
        number(None if row.get("seconds_each") is None else 1000 * row["seconds_each"]),
    )


def _planning_order(row: Row) -> tuple[str, int]:
    order = list(CONTROLS)
    return row["goal"], order.index(row["policy"]) if row["policy"] in order else -1


def films(plans: Plans) -> Markup:
    """Planned episodes."""
    folder = plans.folder / "films"
    # An index names files beside it and nothing elsewhere.
    found = [(folder / str(row["file"]).rpartition("/")[2], row) for row in plans.films]
    shown = [_film(path, row) for path, row in found if path.is_file()]
    absent = [missing(f"{plans.folder.name}/films/{path.name}") for path, _ in found if not path.is_file()]
    if not found:
        absent = [missing(f"{plans.folder.name}/films/index.json")]
    return section("Planned episodes", element("div", *shown, class_="films"), *absent, note(PANELS))


def _film(path: Any, row: Row) -> Markup:
    goal = f"“{row['sentence']}”" if row.get("sentence") else f"{row['goal']} goal"
    mark = element("em", "reached", class_="yes") if row["success"] else element("em", "missed", class_="no")
    by = f" ({NEAREST})" if row.get("imagined") == "nearest" else ""
    return element("figure", image(path, goal), element("figcaption", mark, f"{goal}{by}"))
