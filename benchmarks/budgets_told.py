"""What `benchmarks.budgets` found, as text and as a picture."""

from typing import Any

from benchmarks.tables import markdown
from probes.report.charts import PALETTE, Line, Panel, small_multiples, standalone

Cells = dict[str, dict[float, dict[str, Any]]]
"""What was found of each planner, by what it might spend."""
COUNTED = {"any": "at any step", "last": "at the last step"}
STYLES = ("-", "--")


def rows_of(found: Cells, kind: str, unit: str = "") -> dict[str, dict[str, str]]:
    """A table's rows: of each planner and budget the success and its interval."""
    return {
        name: {f"{spent}{unit}": "{:.0%} [{:.0%}, {:.0%}]".format(*cell[kind]) for spent, cell in each.items()}
        for name, each in found.items()
    }


def times_of(found: Cells) -> dict[str, dict[str, str]]:
    """A table's rows: of each planner and budget the milliseconds of a plan."""
    return {
        name: {f"{count}": f"{1e3 * cell['seconds']:.0f}" for count, cell in each.items()}
        for name, each in found.items()
    }


def fewest(found: Cells, kind: str) -> str:
    """The least that each planner spends in a cell whose interval overlaps that of the best."""
    best = max((cell[kind] for each in found.values() for cell in each.values()), key=lambda rate: rate[0])
    enough = {
        name: cells
        for name, each in found.items()
        if (cells := {count: cell for count, cell in each.items() if cell[kind][2] >= best[1]})
    }
    candidates = {name: min(cells) for name, cells in enough.items()}
    times = {name: round(1e3 * min(cell["seconds"] for cell in cells.values())) for name, cells in enough.items()}
    told = ", ".join(f"{name} {least}" for name, least in sorted(candidates.items(), key=lambda item: item[1]))
    soon = ", ".join(f"{name} {least} ms" for name, least in sorted(times.items(), key=lambda item: item[1]))
    return (
        f"Fewest candidates a plan whose interval overlaps that of the best success {COUNTED[kind]}, {best[0]:.0%}: "
        f"{told}. Least time of such a plan: {soon}."
    )


def chart(found: Cells) -> str:
    """An SVG of the success of every planner in per cent, over candidates and over milliseconds of a plan."""
    panels = []
    for kind, counted in COUNTED.items():
        for over in ("candidates", "milliseconds"):
            lines = []
            for number, (name, each) in enumerate(found.items()):
                points = {
                    round(count if over == "candidates" else 1e3 * cell["seconds"]): 100 * cell[kind][0]
                    for count, cell in each.items()
                }
                style = STYLES[number // len(PALETTE) % len(STYLES)]
                lines.append(Line(name, dict(sorted(points.items())), PALETTE[number % len(PALETTE)], style))
            panels.append(Panel(f"success in % {counted}, over {over}", lines, scale="doubling"))
    return standalone(small_multiples(panels, "success of planners over what a plan spends", "a plan", 2, (4.4, 3.0)))


def text_of(found: Cells, within: Cells) -> str:
    """The section: tables of success by candidates, by seconds of a plan of all, and of times; the fewest."""
    tables = [f"Success {told}:\n\n{markdown('planner', rows_of(found, kind))}" for kind, told in COUNTED.items()]
    tables += [
        f"Success {told}, at equal seconds of a plan of all together:\n\n"
        f"{markdown('planner', rows_of(within, kind, ' s'))}"
        for kind, told in COUNTED.items()
    ]
    times = f"Milliseconds of a plan of one environment:\n\n{markdown('planner', times_of(found))}"
    return "\n\n".join([*tables, times, *(fewest(found, kind) for kind in COUNTED)])
