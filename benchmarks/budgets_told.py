"""What `benchmarks.budgets` found, as text and as a picture."""

from typing import Any

import numpy as np

from benchmarks.tables import markdown
from jepa_wm.control.paired import paired_interval
from jepa_wm.statistics import wilson
from probes.report.charts import PALETTE, Line, Panel, small_multiples, standalone

Cells = dict[str, dict[float, dict[str, Any]]]
"""What was found of each planner, by what it might spend: successes, a goal each, and what a plan has spent."""
Times = dict[str, dict[float, float]]
COUNTED = {"any": "at any step", "last": "at the last step"}
STYLES = ("-", "--")
MARGIN = 0.1
"""How much less often than the best a planner may succeed that keeps its success."""


def rate(hits: list[bool]) -> str:
    """How often, with Wilson's interval."""
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.0%} [{low:.0%}, {high:.0%}]"


def rates(cell: dict[str, Any]) -> dict[str, str]:
    """A cell's successes."""
    return {told: rate(cell[kind]) for kind, told in COUNTED.items()}


def rows_of(found: Cells, kind: str) -> dict[str, dict[str, str]]:
    """A table's rows: of each planner and number of candidates the success and its interval."""
    return {name: {f"{spent}": rate(cell[kind]) for spent, cell in each.items()} for name, each in found.items()}


def rows_within(within: Cells) -> dict[str, dict[str, str]]:
    """A table's rows: of each planner and number of seconds its successes, and what it spent."""
    return {
        name: {
            f"{limit} s, {told}": value
            for limit, cell in each.items()
            for told, value in (
                *rates(cell).items(),
                ("candidates, seconds", f"{cell['evaluations']:.0f}, {cell['seconds']:.2f}"),
            )
        }
        for name, each in within.items()
    }


def fewest(found: Cells, times: Times, kind: str) -> str:
    """The least that each planner spends where it succeeds, on the same goals, hardly less often than the best does."""
    every = [cell[kind] for each in found.values() for cell in each.values()]
    best = np.array(max(every, key=sum), dtype=int)
    enough = {
        name: cells
        for name, each in found.items()
        if (cells := [count for count, cell in each.items() if keeps(np.array(cell[kind], dtype=int), best)])
    }
    candidates = {name: min(cells) for name, cells in enough.items()}
    soonest = {name: round(1e3 * min(times[name][count] for count in cells)) for name, cells in enough.items()}
    told = ", ".join(f"{name} {least}" for name, least in sorted(candidates.items(), key=lambda item: item[1]))
    soon = ", ".join(f"{name} {least} ms" for name, least in sorted(soonest.items(), key=lambda item: item[1]))
    return (
        f"Fewest candidates a plan that keep the best success {COUNTED[kind]}, {best.mean():.0%} (paired on the same "
        f"goals, less by under {MARGIN:.0%} with 95 % confidence): {told}. Least time of such a plan: {soon}."
    )


def keeps(hits: np.ndarray, best: np.ndarray) -> bool:
    """Whether some successes (n,) are fewer than the best ones by less than `MARGIN`, as sure as an interval is."""
    return paired_interval(hits - best, np.arange(len(best)))[0] > -MARGIN


def chart(found: Cells, times: Times) -> str:
    """An SVG of the success of every planner in per cent, over candidates and over milliseconds of a plan."""
    panels = []
    for kind, counted in COUNTED.items():
        for over in ("candidates", "milliseconds"):
            lines = []
            for number, (name, each) in enumerate(found.items()):
                points = {
                    round(count if over == "candidates" else 1e3 * times[name][count]): 100 * float(np.mean(cell[kind]))
                    for count, cell in each.items()
                }
                style = STYLES[number // len(PALETTE) % len(STYLES)]
                lines.append(Line(name, dict(sorted(points.items())), PALETTE[number % len(PALETTE)], style))
            panels.append(Panel(f"success in % {counted}, over {over}", lines, scale="doubling"))
    return standalone(small_multiples(panels, "success of planners over what a plan spends", "a plan", 2, (4.4, 3.0)))


def text_of(found: Cells, times: Times, within: Cells) -> str:
    """The section: tables of success by candidates, by seconds of a plan of all, and of times; the fewest."""
    tables = [f"Success {told}:\n\n{markdown('planner', rows_of(found, kind))}" for kind, told in COUNTED.items()]
    tables.append(
        "At equal seconds of a plan of all together, with what it came to, medians over plans:\n\n"
        f"{markdown('planner', rows_within(within))}"
    )
    spent = {name: {f"{count}": f"{1e3 * each[count]:.0f}" for count in each} for name, each in times.items()}
    tables.append(f"Milliseconds of a plan of one environment:\n\n{markdown('planner', spent)}")
    return "\n\n".join([*tables, *(fewest(found, times, kind) for kind in COUNTED)])
