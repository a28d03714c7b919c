"""The page."""

from pathlib import Path
from typing import Any

from probes.report import imagined, learning, record, results, search
from probes.report.html import Markup, element, join, missing
from probes.report.inputs import Runs
from probes.report.summary import told

STYLE = Path(__file__).with_name("style.css")


def page(runs: Runs, summary: dict[str, Any]) -> str:
    """One HTML document about a folder of runs that needs no other file; the same runs give the same text.

    Args:
        runs: what the stages left.
        summary: what `summarise` made of it.
    """
    environment = runs.environment or "A world"
    absent = [missing(f"what these stages tell: {told(runs.absent)}")] if runs.absent else []
    body = join(
        [
            element("h1", "A world model in embedding space"),
            element(
                "p",
                f"{environment}: what a model of it has learned. Below each figure: its 95 % interval, its controls.",
                class_="lead",
            ),
            *absent,
            results.headline(summary),
            results.planning(runs),
            search.searches(runs),
            results.films(runs),
            imagined.imagination(runs),
            results.probes(runs),
            learning.over_steps(runs),
            learning.training(runs),
            record.record(runs, summary),
        ]
    )
    head = join(
        [
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", f"jepa_wm: {environment}"),
            element("style", Markup(STYLE.read_text())),
        ]
    )
    document = element("html", element("head", head), element("body", element("main", body)), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"
