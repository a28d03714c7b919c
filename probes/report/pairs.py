"""Sections of the convergence page: how alike every two models are."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from jepa_wm.statistics import holm
from probes.convergence.table import Row
from probes.report.charts import BLUE, GREY, Line, Panel, small_multiples
from probes.report.heatmaps import Heatmap, heatmaps
from probes.report.html import Markup, element, note, section, table
from probes.report.measured import METRICS, at_the_end, by_pair, figures, number, of_kind, titled_pair, unique


def ending(rows: Sequence[Row], permutations: int | None) -> Markup:
    """A table of every pair at the end of its training, the most alike first; `permutations` of each null."""
    # The least p that so many permutations can give, and what rounding in a file may add to it.
    least = 0.0 if permutations is None else 1.001 / (permutations + 1)
    found = at_the_end(of_kind(rows, "alignment"))
    if not found:
        return Markup("")
    shown = []
    for metric in unique(row.metric for row in found):
        pairs = sorted((row for row in found if row.metric == metric), key=lambda row: -(row.effect or 0.0))
        for row, p in zip(pairs, holm([1.0 if row.p is None else row.p for row in pairs]), strict=True):
            shown.append(
                (
                    METRICS.get(metric, metric),
                    f"{row.model} · {row.layer}",
                    f"{row.other} · {row.other_layer}",
                    number(row.value),
                    f"{number(row.low)} to {number(row.high)}",
                    number(row.null),
                    number(row.effect),
                    f"{row.z:.1f}" if row.z is not None else "–",
                    f"≤ {p:.3f}" if row.p is not None and row.p <= least else f"{p:.3f}",
                )
            )
    header = ("metric", "one · layer", "other · layer", "value", "95 %", "null", "effect", "z", "p")
    text = (
        "The pair of layers with the largest effect. Null: its expectation if samples are exchanged. Effect: what of "
        "the way from there to identity was gone. 95 %: as though these layers had been chosen beforehand. p: of the "
        "maximum over all layer pairs under permutation, then by Holm over the pairs of models of one metric. ≤: no "
        "permutation came as high, and more of them would find a smaller p."
    )
    return section("At the end of training", table(header, shown, left=3), note(text))


def over_training(rows: Sequence[Row]) -> Markup:
    """A panel for each pair: its alignment over training, the interval shaded, above the band of its null."""
    charts = []
    for metric in unique(row.metric for row in of_kind(rows, "alignment")):
        panels = []
        for pair, points in by_pair(rows, "alignment", metric).items():
            places = {row.share: row for row in points if row.share is not None}
            if len(places) > 1:
                panels.append(_trajectory(titled_pair(*pair), places))
        if panels:
            draw = partial(small_multiples, label=metric, xlabel="% of training")
            charts += [element("h3", METRICS.get(metric, metric)), *figures(panels, draw)]
    if not charts:
        return Markup("")
    text = (
        "Best layer pair at each checkpoint. Dashed: the null of that pair, two standard deviations about it shaded. "
        "The best of a search lies above its own null also by chance; p in the table is corrected for that."
    )
    return section("Over training", *charts, note(text))


def _trajectory(title: str, rows: dict[int, Row]) -> Panel:
    value = {share: row.value or 0.0 for share, row in rows.items()}
    band = {share: (row.low or 0.0, row.high or 0.0) for share, row in rows.items()}
    null = {share: row.null or 0.0 for share, row in rows.items()}
    spread = {share: 2 * (row.null_sd or 0.0) for share, row in rows.items()}
    noise = {share: (mean - spread[share], mean + spread[share]) for share, mean in null.items()}
    return Panel(title, [Line("alignment", value, BLUE, band=band), Line("null", null, GREY, "--", noise)])


def layer_maps(rows: Sequence[Row]) -> Markup:
    """The effect for every pair of layers, at the end of training."""
    charts = []
    for metric in unique(row.metric for row in of_kind(rows, "layers")):
        maps = [_map(pair, cells) for pair, cells in by_pair(rows, "layers", metric).items()]
        maps = [each for each in maps if len(each.rows) * len(each.columns) > 1]
        if maps:
            name = METRICS.get(metric, metric)
            charts += [element("h3", name), *figures(maps, partial(heatmaps, label=f"layer maps of {name}"))]
    if not charts:
        return Markup("")
    text = (
        "Effect at the end of training; across the layers of the second, upward those of the first. Dot: the best pair."
    )
    return section("Layer by layer", *charts, note(text))


def _map(pair: tuple[str, str], cells: Sequence[Row]) -> Heatmap:
    rows, columns = (unique(getattr(cell, name) for cell in cells) for name in ("layer", "other_layer"))
    values = {(cell.layer, cell.other_layer): cell.effect or 0.0 for cell in cells}
    best = max(values, key=lambda key: values[key])
    return Heatmap(
        titled_pair(*pair),
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
        panels = [_sweep(titled_pair(*pair), points, place) for pair, points in by_pair(rows, kind).items()]
        if panels:
            charts += [
                element("h3", xlabel),
                *figures(panels, partial(small_multiples, label=xlabel, xlabel=xlabel)),
            ]
    if not charts:
        return Markup("")
    text = (
        "Of the pair of layers that was best of all, on the same samples. At a fixed k the measure mostly falls as n "
        "grows, though nothing else changes; at a fixed k / n it does not. Shaded over k: 95 %; over n: the lowest to "
        "the highest of five subsets."
    )
    return section("How much is the choice of k and n", *charts, note(text))


def _sweep(title: str, rows: Sequence[Row], place: str) -> Panel:
    at = {getattr(row, place): row for row in rows}
    value = {x: row.value or 0.0 for x, row in at.items()}
    band = {x: (row.low, row.high) for x, row in at.items() if row.low is not None and row.high is not None}
    null = {x: row.null or 0.0 for x, row in at.items()}
    return Panel(title, [Line("alignment", value, BLUE, band=band), Line("null", null, GREY, "--")])


def beside_reference(rows: Sequence[dict[str, Any]]) -> Markup:
    """What another code says of the same features."""
    if not rows:
        return Markup("")
    shown = [
        (f"{row['model']} × {row['other']}", row["metric"], row["why"], number(row["reference"]), number(row["ours"]))
        for row in rows
    ]
    header = ("pair", "metric", "why they differ", "platonic-rep", "ours")
    return section("Beside platonic-rep", table(header, shown, left=3), note("The largest value over all layer pairs."))
