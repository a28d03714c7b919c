"""Sections of the convergence page: what each model knows, and how healthy it is."""

from collections.abc import Mapping, Sequence

from probes.convergence.table import Row
from probes.report.charts import Line, Panel, constant, small_multiples
from probes.report.html import Markup, element, note, section
from probes.report.measured import END, Look, at_the_end, of_kind, unique


def knowledge(rows: Sequence[Row], looks: Mapping[str, Look]) -> Markup:
    """What the last layer knows, over training; what was not trained is a dotted level."""
    panels = [
        _over_training(metric, [row for row in of_kind(rows, kind) if row.metric == metric], looks)
        for kind in ("probe", "health")
        for metric in unique(row.metric for row in of_kind(rows, kind))
    ]
    if not panels:
        return Markup("")
    text = (
        "R² of ridge probes of the last layer on held-out samples, accuracy of labels by such a probe, and its "
        "effective dimensions. Dotted: what was not trained in steps."
    )
    chart = small_multiples(panels, "probes over training", "% of training")
    return section("What they know", element("figure", chart), note(text))


def by_layer(rows: Sequence[Row], looks: Mapping[str, Look]) -> Markup:
    """What every layer knows at the end of training."""
    found = at_the_end(of_kind(rows, "probe"))
    panels = [
        _over_layers(metric, [row for row in found if row.metric == metric], looks)
        for metric in unique(row.metric for row in found)
    ]
    panels = [panel for panel in panels if any(len(line.points) > 1 for line in panel.lines)]
    if not panels:
        return Markup("")
    chart = small_multiples(panels, "probes by layer", "layer, counted from the first")
    return section("Where in the layers", element("figure", chart))


def spectra(rows: Sequence[Row], looks: Mapping[str, Look]) -> Markup:
    """The eigenvalues of the last layer's covariance, at the end."""
    lines = []
    for model, own in _by_model(at_the_end(of_kind(rows, "spectrum"))).items():
        points = {row.rank or 0: row.value for row in own if row.layer == own[-1].layer and row.value}
        lines.append(Line(model, points, *looks[model]))
    if not lines:
        return Markup("")
    chart = small_multiples([Panel("share of the variance", lines, scale="log")], "spectra", "eigenvalue")
    return section("Spectra", element("figure", chart))


def _over_training(metric: str, rows: Sequence[Row], looks: Mapping[str, Look]) -> Panel:
    lines = []
    for model, own in _by_model(rows).items():
        last = [row for row in own if row.layer == own[-1].layer]
        colour, style = looks[model]
        if last[0].share is None:
            lines.append(constant(model, last[0].value or 0.0, (0, END), colour, ":"))
        else:
            lines.append(Line(model, {row.share or 0: row.value or 0.0 for row in last}, colour, style))
    return Panel(_title(metric), lines)


def _over_layers(metric: str, rows: Sequence[Row], looks: Mapping[str, Look]) -> Panel:
    lines = [
        Line(model, {place: row.value or 0.0 for place, row in enumerate(own)}, *looks[model])
        for model, own in _by_model(rows).items()
    ]
    return Panel(_title(metric), lines)


def _by_model(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {model: [row for row in rows if row.model == model] for model in unique(row.model for row in rows)}


def _title(metric: str) -> str:
    return metric.replace("_", " ")
