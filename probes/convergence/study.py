"""What both verbs do: measurements of a feature store into a table, the table onto a page."""

from pathlib import Path
from typing import Any, NamedTuple

from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path
from jepa_wm.manifest import provenance, stage_run
from probes.alignment.named import metric_named
from probes.convergence.alignment import over_training
from probes.convergence.caveats import K, cautions, referred, swept
from probes.convergence.knowledge import known
from probes.convergence.left_out import LeftOut
from probes.convergence.members import Gallery, Member
from probes.convergence.samples import minded, samples_are
from probes.convergence.table import write_table
from probes.draw import HELD_OUT, kind_of, samples_drawn
from probes.report.convergence import convergence_page
from probes.store import FeatureStore

LEAST = 2 * K + 1
"""Samples; of fewer, half of all the others are neighbours."""


class Asked(NamedTuple):
    """What is measured, and how.

    Attributes:
        metrics: of alignment, files of probes/metrics.
        pooling: of a layer's tokens.
        permutations: of each null.
        seed: of nulls, subsamples and intervals.
        probes: whether it is asked what the models know, too.
        reference: another code, whose values are put beside ours; None for none.
        splits: whose episodes or images models are compared on.
        views: rows of one that are pooled, at most; 1 for its first.
    """

    metrics: tuple[str, ...]
    pooling: str
    permutations: int
    seed: int
    probes: bool
    reference: str | None = None
    splits: tuple[str, ...] = HELD_OUT
    views: int = 1


def check(asked: Asked, data: str, frames: int, each: int | None = None) -> None:
    """Refuse what can be known to fail before features are made, which may take hours.

    Args:
        asked: what is to be measured.
        data: folder of shards.
        frames, each: of the draw, as of `extract`.

    Raises:
        UserError: an unknown metric or reference, too few permutations or views, too few held-out samples.
    """
    for metric in asked.metrics:
        metric_named(metric)
    if asked.permutations < 2:
        raise UserError(f"permutations: got {asked.permutations}; expected 2 or more, 200 for a p of .005")
    if asked.reference not in (None, "platonic-rep"):
        raise UserError(f"reference: got {asked.reference!r}; expected platonic-rep, or none")
    if asked.views < 1:
        raise UserError(f"views: got {asked.views}; expected 1 or more frames of an episode or captions of an image")
    drawn = {split: count for split, count in samples_drawn(data, frames, each).items() if split in asked.splits}
    count = sum(drawn.values())
    if count < LEAST:
        each_of = ", ".join(f"{number} of {split}" for split, number in drawn.items())
        raise UserError(
            f"{data}: {frames} frames are drawn from {count} held-out {kind_of(data)} ({each_of}), a sample each; "
            f"expected {LEAST} or more: ask for more frames, or make shards of more {kind_of(data)}, or with a greater "
            "held_out"
        )


def study(folder: Path, stage: str, config: dict[str, Any], found: dict[str, list[Member]], asked: Asked) -> None:
    """Measure what is in the store `folder`/features; write results.json, results.parquet and report.html beside it.

    Args:
        folder: for the results.
        stage: the verb, for the manifest.
        config: its arguments.
        found: the checkpoints of each model.
        asked: what is measured.

    Raises:
        UserError: nothing that was asked for could be measured.
    """
    with stage_run(folder, stage, config):
        store, left_out = FeatureStore(folder / "features"), LeftOut()
        gallery = Gallery(store, asked.pooling, asked.splits, asked.views > 1)
        rows = list(over_training(gallery, found, asked.metrics, asked.permutations, asked.seed, left_out))
        last = {model: checkpoints[-1] for model, checkpoints in found.items()}
        rows += swept(gallery, last, [row for row in rows if row.kind == "alignment"], asked.seed, left_out)
        if asked.probes:
            rows += known(store, found, asked.pooling, asked.seed, left_out)
        if not rows:
            raise UserError(f"{folder}: nothing could be measured; {'; '.join(left_out.sentences())}")
        about, searched = (config["data"], gallery, asked.views), cautions(gallery, last, asked.permutations, left_out)
        fields = {
            "reference": list(referred(gallery, last, left_out)) if asked.reference else [],
            "warnings": [*left_out.sentences(), *gallery.collapsed, *minded(*about), *searched],
            "samples": samples_are(*about),
            "config": config,
            "data": store.manifest["config"],
            **provenance(),
        }
        write_table(folder, rows, fields)
        models = f"{len(found)} models, side by side" if len(found) > 1 else next(iter(found))
        with atomic_path(folder / "report.html") as aside:
            aside.write_text(convergence_page(models, rows, fields), encoding="utf-8")
    print(f"{len(rows)} measurements: {folder / 'results.json'}, .parquet\nreport: {folder / 'report.html'}")
