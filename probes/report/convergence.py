"""The page of `jepa-wm align` and `jepa-wm probe track`: alignment, its null, and what it stands beside."""

from collections.abc import Sequence
from typing import Any

from probes.convergence.table import Row
from probes.report.html import Markup, document, element, section
from probes.report.known import by_layer, knowledge, spectra
from probes.report.measured import looks, shortened
from probes.report.pairs import beside_reference, ending, layer_maps, over_training, sweeps
from probes.report.record import manifest


def convergence_page(title: str, rows: Sequence[Row], fields: dict[str, Any]) -> str:
    """One HTML document that needs no other file; the same rows give the same text.

    Args:
        title: its heading.
        rows: the measurements.
        fields: `samples`, what each of them is; `warnings`, sentences; and everything that was said of the run:
            `config`, `commit` and so on.
    """
    n = max((row.n or 0 for row in rows if row.kind == "alignment"), default=0)
    rows = shortened(rows)
    seen = looks(rows)
    compared = f"{n} samples, {fields.get('samples', 'each of another held-out episode')}; the same for all."
    return document(
        title,
        element("h1", title),
        element("p", compared, class_="lead") if n else Markup(""),
        ending(rows, fields.get("config", {}).get("permutations")),
        over_training(rows),
        layer_maps(rows),
        sweeps(rows),
        beside_reference(fields.get("reference", [])),
        knowledge(rows, seen),
        by_layer(rows, seen),
        spectra(rows, seen),
        cautions(fields.get("warnings", [])),
        manifest({key: value for key, value in fields.items() if key not in ("warnings", "reference")}),
    )


def cautions(warnings: Sequence[str]) -> Markup:
    """What may deceive in these numbers."""
    return section("Mind", element("ul", *(element("li", text) for text in warnings))) if warnings else Markup("")
