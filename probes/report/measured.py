"""What the sections of the convergence page share: rows by kind and pair, names that fit, looks of lines."""

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, product
from typing import Any, TypeVar

from probes.convergence.table import Row
from probes.report.charts import PALETTE
from probes.report.html import Markup, details, element

END = 100
METRICS = {"mutual_knn": "mutual kNN", "cka": "CKA (linear, unbiased)"}
SHOWN = 12
"""Panels of a chart that are not folded."""
LONGEST = 26
"""Letters of a name, and of a title's line, that fit a panel."""

Look = tuple[str, str]
"""A line's colour and style."""
T = TypeVar("T")


def of_kind(rows: Sequence[Row], kind: str) -> list[Row]:
    """The rows of a kind."""
    return [row for row in rows if row.kind == kind]


def at_the_end(rows: Sequence[Row]) -> list[Row]:
    """The rows of checkpoints at the end of training, and of what was not trained in steps."""
    return [row for row in rows if row.share in (END, None)]


def unique(names: Iterable[Any]) -> list[Any]:
    """Each once, in their order."""
    return list(dict.fromkeys(names))


def by_pair(rows: Sequence[Row], kind: str, metric: str | None = None) -> dict[tuple[str, str], list[Row]]:
    """The rows of a kind, and of a metric if one is given, by their two models: the most alike at the end first."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in of_kind(rows, kind):
        if metric in (None, row.metric):
            found.setdefault((row.model, row.other or ""), []).append(row)

    def at_the_last(pair: tuple[str, str]) -> float:
        own = found[pair]
        return max(row.effect or 0.0 for row in own if row.share == own[-1].share)

    return {pair: found[pair] for pair in sorted(found, key=at_the_last, reverse=True)}


def number(value: float | None) -> str:
    """To three digits, a dash for none."""
    return "–" if value is None else f"{value:.3f}"


def titled_pair(one: str, other: str) -> str:
    """Two names, in two lines if one would be too long."""
    line = f"{one} × {other}"
    return line if len(line) <= LONGEST else f"{one}\n× {other}"


def shortened(rows: Sequence[Row]) -> list[Row]:
    """The rows with models named by as much of the ends of their paths as tells them apart."""
    names = short_names(unique(name for row in rows for name in (row.model, row.other) if name))
    return [row._replace(model=names[row.model], other=names[row.other] if row.other else None) for row in rows]


def short_names(models: Sequence[str]) -> dict[str, str]:
    """For each model the shortest end of its path that no other model's path has, cut in its middle if it is long."""
    paths = {model: model.split("/") for model in models}
    ends = {}
    for model, path in paths.items():
        count = next(
            (n for n in range(1, len(path)) if sum(other[-n:] == path[-n:] for other in paths.values()) == 1), len(path)
        )
        ends[model] = "/".join(path[-count:])
    half = (LONGEST - 1) // 2
    cut = {model: end if len(end) <= LONGEST else f"{end[:half]}…{end[-half:]}" for model, end in ends.items()}
    return cut if len(set(cut.values())) == len(cut) else ends


def looks(rows: Sequence[Row]) -> dict[str, Look]:
    """A colour and a style for each model, the same throughout the page."""
    models = unique(name for row in rows for name in (row.model, row.other) if name)
    ways = cycle(product(("-", "--", "-."), PALETTE))
    return {model: (colour, style) for model, (style, colour) in zip(models, ways, strict=False)}


def figures(panels: Sequence[T], draw: Callable[[Sequence[T]], Markup]) -> list[Markup]:
    """A figure of the first panels, and one of the others, folded, where they are many."""
    drawn = [element("figure", draw(panels[:SHOWN]))]
    if len(panels) > SHOWN:
        drawn.append(details(f"{len(panels) - SHOWN} more", element("figure", draw(panels[SHOWN:]))))
    return drawn
