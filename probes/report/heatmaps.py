"""Layer maps: a number for every layer of one model and every layer of another, as colours."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from probes.report.charts import MUTED, STYLE, drawn
from probes.report.html import Markup

SIDE = (2.7, 2.3)
"""Inches of one map."""


class Heatmap(NamedTuple):
    """One map.

    Attributes:
        title: above it.
        rows, columns: names of the layers of the one and of the other model, from first to last.
        values: a row for each of `rows`, from 0 to 1; below 0 is drawn as 0.
        best: the cell that is marked.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    best: tuple[int, int]


def heatmaps(maps: Sequence[Heatmap], label: str, columns: int = 4) -> Markup:
    """Draw maps in rows on one scale of colours, the last layer on top.

    Args:
        maps: at least one.
        label: what they show, for those who cannot see it.
        columns: maps in a row.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    highest = max(max(max(line) for line in each.values) for each in maps)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        # A colour bar beside a single narrow map would crush it.
        size = (SIDE[0] * max(columns, 1.6), SIDE[1] * rows)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.07))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, each in zip(axes, maps, strict=False):
            image = _draw(axis, each, max(highest, 1e-3))
        for axis in axes[len(maps) :]:
            axis.set_axis_off()
        # An image would be a link into a file of its own: bars are drawn as shapes.
        bar: Any = figure.colorbar(image, ax=list(axes), shrink=0.8, pad=0.02)
        bar.solids.set_rasterized(False)
        return drawn(figure, label)


def _draw(axis: Any, each: Heatmap, highest: float) -> Any:
    image = axis.pcolormesh(
        [[max(value, 0.0) for value in line] for line in each.values], cmap="Blues", vmin=0, vmax=highest
    )
    row, column = each.best
    axis.plot(column + 0.5, row + 0.5, "o", color="white", markeredgecolor="#1f2933", markersize=5)
    axis.set_title(each.title, fontsize=8)
    for set_ticks, names in ((axis.set_xticks, each.columns), (axis.set_yticks, each.rows)):
        stride = -(-len(names) // 8)
        set_ticks([place + 0.5 for place in range(0, len(names), stride)], list(names)[::stride], color=MUTED)
    return image
