"""The page."""

from typing import Any

from probes.report import imagined, learning, planning, record, results, search
from probes.report.html import document, element, missing
from probes.report.inputs import Runs
from probes.report.summary import told


def page(runs: Runs, summary: dict[str, Any]) -> str:
    """One HTML document about a folder of runs that needs no other file; the same runs give the same text.

    Args:
        runs: what the stages left.
        summary: what `summarise` made of it.
    """
    environment = runs.environment or "A world"
    absent = [missing(f"what these stages tell: {told(runs.absent)}")] if runs.absent else []
    return document(
        environment,
        element("h1", "A world model in embedding space"),
        element(
            "p",
            f"{environment}: what a model of it has learned. Below each figure: its 95 % interval, its controls.",
            class_="lead",
        ),
        *absent,
        results.headline(summary),
        planning.planning(runs.plans),
        search.searches(runs.plans),
        planning.films(runs.plans),
        imagined.imagination(runs),
        results.probes(runs),
        learning.over_steps(runs),
        learning.training(runs),
        record.record(runs, summary),
    )
