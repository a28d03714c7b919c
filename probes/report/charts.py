"""Line charts in small multiples, as SVG that stands inside a page."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from probes.report.html import Markup, escape

BLUE, ORANGE, GREY, GREEN = "#2f6db5", "#d9742b", "#8a94a0", "#4d9a6a"
PALETTE = (BLUE, ORANGE, GREEN, "#8b5fb0", "#b3402e", "#3f9db0", "#a98a2c", "#c2608f")
"""For lines of equal standing; after the last colour they begin anew."""
MUTED = "#5b6672"
PANEL = (2.68, 1.85)
"""Inches of one panel."""
HANDLE, LETTER, LETTERS, MARGIN = 0.5, 0.068, 0.18, 0.12
"""Inches: a legend's line, a letter's width, the height of a row of the legend, and what stands about it."""
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "svg.hashsalt": "jepa_wm",  # else the identifiers differ from run to run
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "white",
    "savefig.facecolor": "none",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#b5bcc4",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceff2",
    "text.color": "#1f2933",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.fontsize": 8.5,
}


class Line(NamedTuple):
    """One line: points (x, y); `style` is matplotlib's; `band` is what is shaded about it, low and high by x."""

    label: str
    points: Mapping[int, float]
    colour: str = BLUE
    style: str = "-"
    band: Mapping[int, tuple[float, float]] | None = None


class Panel(NamedTuple):
    """One pair of axes; `boundary` is an x at which another stage begins, `scale` "linear", "log" for both axes, or
    "doubling" for x alone, whose ticks are powers of two."""

    title: str
    lines: Sequence[Line]
    boundary: float | None = None
    scale: str = "linear"


def constant(label: str, value: float, x: Iterable[int], colour: str, style: str) -> Line:
    """A level that holds from the first to the last of `x`."""
    places = list(x)
    return Line(label, {min(places): value, max(places): value}, colour, style)


def small_multiples(
    panels: Sequence[Panel],
    label: str,
    xlabel: str = "step",
    columns: int = 4,
    size: tuple[float, float] = PANEL,
) -> Markup:
    """Draw panels in rows, with one legend above them.

    Args:
        panels: at least one.
        label: what the chart shows, for those who cannot see it.
        xlabel: what x is, in every panel.
        columns: panels in a row.
        size: inches of a panel.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    width = size[0] * columns
    abreast = max(1, min(len(labels), int(width / (HANDLE + LETTER * max(map(len, labels))))))
    height = size[1] * rows + MARGIN + LETTERS * -(-len(labels) // abreast)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.07))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        handles: dict[str, Any] = {}
        for axis, panel in zip(axes, panels, strict=False):
            handles |= _draw(axis, panel)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        figure.supxlabel(xlabel, color=MUTED, fontsize=8)
        if len(handles) > 1:
            lines = [handles[label] for label in labels]
            figure.legend(handles=lines, labels=labels, loc="outside upper left", ncols=abreast, frameon=False)
        return drawn(figure, label)


def drawn(figure: Any, label: str) -> Markup:
    """A figure of matplotlib, drawn under `STYLE`, as an element of a page; `label` says what it shows."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inline(buffer.getvalue(), label)


def standalone(chart: Markup) -> str:
    """The same chart as a file of its own, whose ticks and markers are links."""
    return chart.replace("<svg", f'<svg xmlns="{SVG}" xmlns:xlink="{XLINK}"', 1)


def _draw(axis: Any, panel: Panel) -> dict[str, Any]:
    """Draw one panel; what was drawn, by its label."""
    handles = {}
    for line in panel.lines:
        marker = "o" if line.style == "-" and len(line.points) <= 12 else None
        x, y = list(line.points), list(line.points.values())
        (handles[line.label],) = axis.plot(
            x, y, line.style, color=line.colour, linewidth=1.5, marker=marker, markersize=2.8
        )
        if line.band:
            low, high = zip(*line.band.values(), strict=True)
            axis.fill_between(list(line.band), low, high, color=line.colour, alpha=0.18, linewidth=0)
    if panel.boundary is not None:
        axis.axvline(panel.boundary, color="#c5ccd3", linewidth=0.8)
    axis.set_title(panel.title)
    if panel.scale == "log":
        axis.set(xscale="log", yscale="log")
        for ticks in (axis.xaxis, axis.yaxis):
            # Powers in matplotlib's own notation would stay as they are written: mathematics is off.
            ticks.set_major_formatter(lambda value, _: f"{value:g}")
            ticks.set_minor_formatter(lambda value, _: "")
        return handles
    axis.locator_params(axis="y", nbins=5)
    if panel.scale == "doubling":
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        return handles
    axis.locator_params(axis="x", nbins=5, integer=True)
    return handles


def _inline(svg: str, label: str) -> Markup:
    """The element alone, without what only a file of its own needs and without repeated identifiers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))
