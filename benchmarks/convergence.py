"""Do encoders of one world converge as they train? `python -m benchmarks.convergence`.

Four objectives that share nothing but the encoder's architecture (masked latents, SIGReg, self-distillation, text)
train on the same episodes of the two rooms, with two seeds each; `jepa-wm probe track` holds every two of them against
each other at every checkpoint, above their null. Three controls say what that is worth: the same encoders before their
first step, which agree because they see the same pixels; one objective with another seed, which agrees as well as one
can ask; and the pixels. Only runs of different seeds are compared: those of one seed begin with the same weights. All
factors of variation stand for the world, the text tower of the first text run for sentences. Writes
docs/convergence.md and its charts; what is there of a run is not done again.
"""

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from itertools import combinations, combinations_with_replacement
from pathlib import Path

from torch import Tensor

from benchmarks.tables import ROOT, machine, markdown, replace_section
from benchmarks.verbs import verb
from jepa_wm.files import atomic_path
from jepa_wm.paths import config_root
from probes.convergence.alignment import over_training
from probes.convergence.left_out import LeftOut
from probes.convergence.members import Gallery, Member, members
from probes.convergence.table import Row, read_table, write_table
from probes.draw import HELD_OUT
from probes.report.charts import GREY, PALETTE, Line, Panel, small_multiples, standalone
from probes.sources import find_sources
from probes.store import FeatureStore

OBJECTIVES = {"ijepa": "masked", "lejepa": "SIGReg", "distillation": "DINO", "clip": "text"}
ANCHORS = {"factors": "the world", "sentences": "sentences", "pixels": "pixels"}
METRICS = {"mutual_knn": "mutual kNN", "cka": "CKA"}
LAYERS = {"last": "Last layers", "best": "The best of all layers"}
SNAPSHOTS, PERMUTATIONS = 6, 50
DOCUMENT = ROOT / "docs" / "convergence.md"


def train(folder: Path, seeds: Sequence[int]) -> list[Path]:
    """The run of every objective and seed; data and runs that are complete are left as they are."""
    shards, configs = folder / "shards", config_root() / "objectives"
    verb("collect", f"--config={configs / 'data' / 'collect.yaml'}", f"--out={shards}")
    runs = []
    for seed in seeds:
        for name in OBJECTIVES:
            here = folder / f"{name}-{seed}"
            folders = [f"--run={here}", f"--data.folder={shards}"]
            options = [f"--seed_everything={seed}", f"--data.seed={seed}", f"--snapshots={SNAPSHOTS}"]
            verb("pretrain", f"--config={configs / name}.yaml", *folders, *options)
            runs.append(here)
    return runs


Curve = dict[int, list[Row]]
"""The measurements of several seeds, by share of the training."""


def curve(rows: Iterable[Row], metric: str, one: str, other: str) -> Curve:
    """Alignment of two objectives, or of one and an anchor, or of one with another seed of its own."""
    found: Curve = {}
    for row in rows:
        (a, seed_a), (b, seed_b) = _named(row.model), _named(row.other)
        if row.kind == "alignment" and row.metric == metric and {a, b} == {one, other} and seed_a != seed_b:
            found.setdefault(row.share or 0, []).append(row)
    return dict(sorted(found.items()))


def line(label: str, found: Curve, colour: str, style: str = "-") -> Line:
    """The mean over seeds of the effect, their range shaded."""
    effects = {share: [row.effect or 0.0 for row in rows] for share, rows in found.items()}
    means = {share: statistics.mean(values) for share, values in effects.items()}
    return Line(label, means, colour, style, {share: (min(values), max(values)) for share, values in effects.items()})


def panels(rows: Sequence[Row]) -> list[Panel]:
    """For each metric: between objectives; within one, over seeds; with each anchor."""
    pairs = list(combinations(OBJECTIVES, 2))
    shown = []
    for metric, name in METRICS.items():
        between = [
            line(f"{OBJECTIVES[a]} × {OBJECTIVES[b]}", curve(rows, metric, a, b), colour)
            for (a, b), colour in zip(pairs, PALETTE, strict=False)
        ]
        shown.append(Panel(f"{name}: between objectives", between))
        colours = dict(zip(OBJECTIVES, (*PALETTE[6:], GREY, "#1f2933"), strict=False))
        for title, other in (
            ("two seeds of one", None),
            *((f"with {text}", name) for name, text in ANCHORS.items()),
        ):
            lines = [
                line(OBJECTIVES[each], curve(rows, metric, each, other or each), colours[each]) for each in OBJECTIVES
            ]
            shown.append(Panel(f"{name}: {title}", [each for each in lines if each.points]))
    return shown


def table(rows: Sequence[Row], metric: str) -> str:
    """Effects before the first step and after the last, over seeds, and whether every seed rose, above its null."""
    lines = {}
    pairs = [
        *combinations_with_replacement(OBJECTIVES, 2),
        *((each, anchor) for anchor in ANCHORS for each in OBJECTIVES),
    ]
    for one, other in pairs:
        found = curve(rows, metric, one, other)
        if not found:
            continue
        first, last = found[min(found)], found[max(found)]
        # Of a collapsed checkpoint there is no row.
        began = {(row.model, row.other): row.effect or 0.0 for row in first}
        rises = [(row.effect or 0.0) - began[pair] for row in last if (pair := (row.model, row.other)) in began]
        partner = "itself, other seed" if one == other else {**OBJECTIVES, **ANCHORS}[other]
        name = f"{OBJECTIVES[one]} × {partner}"
        lines[name] = {
            "null": f"{statistics.mean(row.null or 0.0 for row in last):.4f}",
            "value at the end": f"{statistics.mean(row.value or 0.0 for row in last):.3f}",
            "effect before": _range(row.effect or 0.0 for row in first),
            "effect after": _range(row.effect or 0.0 for row in last),
            "best layers": _layers(last),
            "largest p": f"{max(row.p or 0.0 for row in last):.3f}",
            "seed pairs that rose": f"{sum(rise > 0 for rise in rises)} of {len(rises)}",
        }
    return markdown(METRICS[metric], lines)


def _layers(rows: Iterable[Row]) -> str:
    return ", ".join(sorted({f"{row.layer} × {row.other_layer}" for row in rows}))


def _range(values: Iterable[float]) -> str:
    found = list(values)
    return f"{statistics.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def _named(model: str | None) -> tuple[str, str]:
    """Objective and seed of a run; of an anchor its name and none."""
    if (model or "").endswith(":text"):
        return "sentences", ""
    name, _, seed = (model or "").rpartition("/")[2].partition("-")
    return name, seed


class LastLayer(Gallery):
    """What is compared, of each model the last layer alone."""

    def names(self, member: Member) -> list[str]:
        """Its name."""
        return super().names(member)[-1:]

    def layers(self, member: Member) -> list[Tensor]:
        """Its features (n, d)."""
        return super().layers(member)[-1:]


def of_last_layers(tracked: Path, runs: Sequence[Path], anchors: Sequence[str]) -> list[Row]:
    """Alignment of last layers over training, from the features that `probe track` left; kept beside them.

    The best of all layers is mostly the first, a linear map of pixels that training hardly moves.
    """
    here = tracked / "last"
    if not (here / "results.json").is_file():
        named = [source for run in runs for source in find_sources(str(run), "all", 0)]
        found = members([*named, *(source for name in anchors for source in find_sources(name, "last", 0))])
        gallery, left_out = LastLayer(FeatureStore(tracked / "features"), "mean", HELD_OUT), LeftOut()
        here.mkdir(exist_ok=True)
        write_table(here, list(over_training(gallery, found, tuple(METRICS), PERMUTATIONS, 0, left_out)), {})
    return read_table(here)[0]


def main() -> None:
    """Train, track, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/convergence"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    runs = train(arguments.out, arguments.seeds)
    tracked, anchors = (
        arguments.out / "track",
        ["factors", f"{arguments.out / f'clip-{arguments.seeds[0]}'}:text", "pixels"],
    )
    options = [f"--anchors={json.dumps(anchors)}", f"--data={arguments.out / 'shards'}", f"--out={tracked}"]
    verb("probe", "track", *map(str, runs), *options)
    n, texts = 0, []
    found = {"last": of_last_layers(tracked, runs, anchors), "best": read_table(tracked)[0]}
    for which, rows in found.items():
        chart = small_multiples(panels(rows), f"alignment of {which} layers over training", "% of training", columns=5)
        with atomic_path(ROOT / "docs" / f"convergence_{which}.svg") as aside:
            aside.write_text(standalone(chart))
        n = max(row.n or 0 for row in rows if row.kind == "alignment")
        texts += [f"### {LAYERS[which]}", *(table(rows, metric) for metric in METRICS)]
    text = "\n\n".join([f"{machine()} {n} held-out episodes, {len(arguments.seeds)} seeds.", *texts])
    replace_section(DOCUMENT, "convergence", text)
    print(text)


if __name__ == "__main__":
    main()
