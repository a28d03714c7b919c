"""What both verbs do: measurements of a feature store into a table, the table onto a page."""

from pathlib import Path
from typing import Any, NamedTuple

from jepa_wm.files import atomic_path
from jepa_wm.manifest import provenance, stage_run
from probes.convergence.alignment import over_training
from probes.convergence.caveats import cautions, referred, swept
from probes.convergence.knowledge import known
from probes.convergence.members import Gallery, members
from probes.convergence.table import write_table
from probes.report.convergence import convergence_page
from probes.store import FeatureStore


class Asked(NamedTuple):
    """What is measured, and how.

    Attributes:
        metrics: of alignment, files of probes/metrics.
        pooling: of a layer's tokens.
        permutations: of each null.
        seed: of nulls, subsamples and intervals.
        probes: whether it is asked what the models know, too.
        reference: another code, whose values are put beside ours; None for none.
    """

    metrics: tuple[str, ...]
    pooling: str
    permutations: int
    seed: int
    probes: bool
    reference: str | None = None


def study(folder: Path, stage: str, config: dict[str, Any], asked: Asked) -> None:
    """Measure what is in the store `folder`/features; write results.json, results.parquet and report.html beside it.

    Args:
        folder: for the results.
        stage: the verb, for the manifest.
        config: its arguments.
        asked: what is measured.
    """
    with stage_run(folder, stage, config):
        store = FeatureStore(folder / "features")
        gallery, found = Gallery(store, asked.pooling), members(store)
        rows = list(over_training(gallery, found, asked.metrics, asked.permutations, asked.seed))
        last = {model: checkpoints[-1] for model, checkpoints in found.items()}
        rows += swept(gallery, last, [row for row in rows if row.kind == "alignment"], asked.seed)
        if asked.probes:
            rows += known(store, found, asked.pooling, asked.seed)
        fields = {
            "warnings": cautions(gallery, last, asked.permutations),
            "reference": referred(gallery, last, asked.reference) if asked.reference else [],
            "config": config,
            "data": store.manifest["config"],
            **provenance(),
        }
        write_table(folder, rows, fields)
        with atomic_path(folder / "report.html") as aside:
            aside.write_text(convergence_page(f"{len(found)} models, side by side", rows, fields), encoding="utf-8")
    print(f"{len(rows)} measurements: {folder / 'results.json'}, .parquet\nreport: {folder / 'report.html'}")
