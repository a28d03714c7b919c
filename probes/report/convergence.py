"""The page of `jepa-wm align` and `jepa-wm probe track`: alignment, its null, and what it stands beside."""

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml

from jepa_wm.statistics import holm
from probes.convergence.table import Row
from probes.report.charts import BLUE, GREY, PALETTE, Line, Panel, constant, small_multiples
from probes.report.heatmaps import Heatmap, heatmaps
from probes.report.html import Markup, details, element, join, note, section, table

STYLE = Path(__file__).with_name("style.css")
METRICS = {"mutual_knn": "mutual kNN", "cka": "CKA (linear, unbiased)"}
END = 100


def convergence_page(title: str, rows: Sequence[Row], fields: dict[str, Any]) -> str:
    """One HTML document that needs no other file; the same rows give the same text.

    Args:
        title: its heading.
        rows: the measurements.
        fields: `warnings`, sentences, and everything that was said of the run: `config`, `commit` and so on.
    """
    n = max((row.n or 0 for row in rows if row.kind == "alignment"), default=0)
    body = join(
        [
            element("h1", title),
            element("p", f"{n} samples, one of each held-out episode, the same for all.", class_="lead"),
            ending(rows),
            over_training(rows),
            layer_maps(rows),
            sweeps(rows),
            beside_reference(fields.get("reference", [])),
            knowledge(rows),
            by_layer(rows),
            spectra(rows),
            cautions(fields.get("warnings", [])),
            record(fields),
        ]
    )
    head = join(
        [
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", f"jepa_wm: {title}"),
            element("style", Markup(STYLE.read_text())),
        ]
    )
    document = element("html", element("head", head), element("body", element("main", body)), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def ending(rows: Sequence[Row]) -> Markup:
    """A table of every pair at the end of its training, the most alike first."""
    found = [row for row in _of(rows, "alignment") if row.share in (END, None)]
    shown = []
    for metric in _unique(row.metric for row in found):
        pairs = sorted((row for row in found if row.metric == metric), key=lambda row: -(row.effect or 0.0))
        for row, p in zip(pairs, holm([row.p or 0.0 for row in pairs]), strict=True):
            shown.append(
                (
                    METRICS.get(metric, metric),
                    f"{row.model} · {row.layer}",
                    f"{row.other} · {row.other_layer}",
                    _number(row.value),
                    f"{_number(row.low)} to {_number(row.high)}",
                    _number(row.null),
                    _number(row.effect),
                    f"{row.z:.1f}" if row.z is not None else "–",
                    f"{p:.3f}",
                )
            )
    header = ("metric", "one · layer", "other · layer", "value", "95 %", "null", "effect", "z", "p")
    text = (
        "The pair of layers that agrees most. Null: its expectation if samples are exchanged. Effect: what of the way "
        "from there to the highest possible value was gone. p: of the maximum over all layer pairs under permutation, "
        "then by Holm over the pairs of models."
    )
    return section("At the end of training", table(header, shown, left=3), note(text))


def over_training(rows: Sequence[Row]) -> Markup:
    """A panel for each pair: its alignment over training, the interval shaded, above the band of its null."""
    charts = []
    for metric in _unique(row.metric for row in _of(rows, "alignment")):
        panels = []
        for (one, other), points in _pairs(rows, "alignment", metric).items():
            places = [row for row in points if row.share is not None]
            if len(places) > 1:
                panels.append(_trajectory(f"{one} × {other}", places))
        if panels:
            charts += [element("h3", METRICS.get(metric, metric)), element("figure", _multiples(panels, metric))]
    if not charts:
        return Markup("")
    text = "Dashed: the null, two standard deviations about it shaded. Best layer pair at each checkpoint."
    return section("Over training", *charts, note(text))


def _trajectory(title: str, rows: Sequence[Row]) -> Panel:
    value = {row.share or 0: row.value or 0.0 for row in rows}
    band = {row.share or 0: (row.low or 0.0, row.high or 0.0) for row in rows}
    null = {row.share or 0: row.null or 0.0 for row in rows}
    noise = {
        place: (mean - 2 * sd, mean + 2 * sd) for (place, mean), sd in zip(null.items(), _deviations(rows), strict=True)
    }
    return Panel(title, [Line("alignment", value, BLUE, band=band), Line("null", null, GREY, "--", noise)])


def layer_maps(rows: Sequence[Row]) -> Markup:
    """The effect for every pair of layers, at the end of training."""
    charts = []
    for metric in _unique(row.metric for row in _of(rows, "layers")):
        maps = [_map(pair, cells) for pair, cells in _pairs(rows, "layers", metric).items()]
        maps = [each for each in maps if len(each.rows) * len(each.columns) > 1]
        if maps:
            name = METRICS.get(metric, metric)
            charts += [element("h3", name), element("figure", heatmaps(maps, f"layer maps of {name}"))]
    if not charts:
        return Markup("")
    text = (
        "Effect at the end of training; across the layers of the second, upward those of the first. Dot: the best pair."
    )
    return section("Layer by layer", *charts, note(text))


def _map(pair: tuple[str, str], cells: Sequence[Row]) -> Heatmap:
    rows, columns = (_unique(getattr(cell, name) for cell in cells) for name in ("layer", "other_layer"))
    values = {(cell.layer, cell.other_layer): cell.effect or 0.0 for cell in cells}
    best = max(values, key=lambda key: values[key])
    return Heatmap(
        f"{pair[0]} × {pair[1]}",
        rows,
        columns,
        [[values[row, column] for column in columns] for row in rows],
        (rows.index(best[0]), columns.index(best[1])),
    )


def sweeps(rows: Sequence[Row]) -> Markup:
    """Mutual kNN over the number of neighbours and over the number of samples, beside chance."""
    charts = []
    for kind, xlabel, place in (
        ("k sweep", "neighbours k", "k"),
        ("n sweep", "samples n", "n"),
        ("share sweep", "samples n, at one k / n", "n"),
    ):
        panels = []
        for (one, other), points in _pairs(rows, kind).items():
            at = [getattr(row, place) for row in points]
            value = {x: row.value or 0.0 for x, row in zip(at, points, strict=True)}
            band = {
                x: (row.low, row.high)
                for x, row in zip(at, points, strict=True)
                if row.low is not None and row.high is not None
            }
            null = {x: row.null or 0.0 for x, row in zip(at, points, strict=True)}
            panels.append(
                Panel(f"{one} × {other}", [Line("alignment", value, BLUE, band=band), Line("null", null, GREY, "--")])
            )
        if panels:
            charts += [element("h3", xlabel), element("figure", small_multiples(panels, xlabel, xlabel))]
    if not charts:
        return Markup("")
    text = "At a fixed k the measure falls as n grows, though nothing else changes; at a fixed k / n it does not."
    return section("How much is the choice of k and n", *charts, note(text))


def beside_reference(rows: Sequence[dict[str, Any]]) -> Markup:
    """What another code says of the same features."""
    if not rows:
        return Markup("")
    shown = [
        (f"{row['model']} × {row['other']}", row["metric"], row["why"], _number(row["reference"]), _number(row["ours"]))
        for row in rows
    ]
    header = ("pair", "metric", "why they differ", "platonic-rep", "ours")
    return section("Beside platonic-rep", table(header, shown, left=3), note("The largest value over all layer pairs."))


def knowledge(rows: Sequence[Row]) -> Markup:
    """What the last layer knows, over training; what was not trained is a dotted level."""
    panels = [
        _curves(metric, [row for row in rows if row.kind == kind and row.metric == metric], _share)
        for kind in ("probe", "health")
        for metric in _unique(row.metric for row in _of(rows, kind))
    ]
    if not panels:
        return Markup("")
    text = "R² of ridge probes of the last layer on held-out episodes, and its effective dimensions."
    return section("What they know", element("figure", _multiples(panels, "probes over training")), note(text))


def by_layer(rows: Sequence[Row]) -> Markup:
    """What every layer knows at the end of training."""
    found = [row for row in _of(rows, "probe") if row.share in (END, None)]
    panels = [
        _curves(metric, [row for row in found if row.metric == metric], None)
        for metric in _unique(row.metric for row in found)
    ]
    panels = [panel for panel in panels if any(len(line.points) > 1 for line in panel.lines)]
    if not panels:
        return Markup("")
    chart = small_multiples(panels, "probes by layer", "layer")
    return section("Where in the layers", element("figure", chart))


def spectra(rows: Sequence[Row]) -> Markup:
    """The eigenvalues of the last layer's covariance, at the end."""
    found = [row for row in _of(rows, "spectrum") if row.share in (END, None)]
    colours = cycle(PALETTE)
    lines = []
    for model in _unique(row.model for row in found):
        own = [row for row in found if row.model == model]
        points = {row.rank or 0: row.value for row in own if row.layer == own[-1].layer and row.value}
        lines.append(Line(model, points, next(colours)))
    if not lines:
        return Markup("")
    chart = small_multiples([Panel("share of the variance", lines, scale="log")], "spectra", "eigenvalue")
    return section("Spectra", element("figure", chart))


def cautions(warnings: Sequence[str]) -> Markup:
    """What may deceive in these numbers."""
    return section("Mind", element("ul", *(element("li", text) for text in warnings))) if warnings else Markup("")


def record(fields: dict[str, Any]) -> Markup:
    """What was run on what."""
    text = yaml.safe_dump(
        {key: value for key, value in fields.items() if key not in ("warnings", "reference")}, sort_keys=False
    )
    return section("What was run on what", details("manifest", element("pre", text)))


def _curves(title: str, rows: Sequence[Row], place: Callable[[Row], int | None] | None) -> Panel:
    """A line for each model: over what `place` says, or, without it, over its layers in order."""
    colours, lines = cycle(PALETTE), []
    for model in _unique(row.model for row in rows):
        own, colour = [row for row in rows if row.model == model], next(colours)
        if place is None:
            lines.append(Line(model, {number: row.value or 0.0 for number, row in enumerate(own)}, colour))
            continue
        last = [row for row in own if row.layer == own[-1].layer]
        if own[0].share is None:
            lines.append(constant(model, last[0].value or 0.0, (0, END), colour, ":"))
        else:
            lines.append(Line(model, {place(row) or 0: row.value or 0.0 for row in last}, colour))
    return Panel(title.replace("_", " "), lines)


def _share(row: Row) -> int | None:
    return row.share


def _multiples(panels: Sequence[Panel], label: str) -> Markup:
    return small_multiples(panels, label, "% of training")


def _pairs(rows: Sequence[Row], kind: str, metric: str | None = None) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in _of(rows, kind):
        if metric in (None, row.metric):
            found.setdefault((row.model, row.other or ""), []).append(row)
    return found


def _deviations(rows: Sequence[Row]) -> list[float]:
    return [row.null_sd or 0.0 for row in rows]


def _of(rows: Sequence[Row], kind: str) -> list[Row]:
    return [row for row in rows if row.kind == kind]


def _unique(names: Any) -> list[Any]:
    return list(dict.fromkeys(names))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
