"""What each objective learns of the world in a few minutes: `python -m benchmarks.learning`.

Episodes of the two rooms in which colours, sizes, doors and positions vary are collected once; each config of
`configs/objectives/` trains an encoder for each seed, on one core, so that two runs side by side do not disturb each
other; then the mean of its patch tokens, which no objective's own head is behind, is probed on held-out
episodes for every factor, linearly and by nearest neighbours, beside the same encoder before its first step and raw
pixels. Writes the section of docs/results.md; what is there of a run is not done again.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.tables import RESULTS, machine, markdown, replace_section
from benchmarks.verbs import verb
from jepa_wm.encoders import load_encoder
from jepa_wm.files import read_json, write_json
from jepa_wm.manifest import read_manifest
from jepa_wm.paths import config_root
from jepa_wm.precision import mixed
from probes.features import BATCH, Rows, read_splits
from probes.knn import knn_regress
from probes.linear import ridge_probe
from probes.targets import targets

FRAMES = 6000
"""Frames that probes are trained on."""
ENOUGH = 0.95
Found = dict[str, tuple[float, float]]
"""R² of a linear probe and of nearest neighbours, by factor."""


def probe(features: dict[str, Tensor], rows: dict[str, Rows]) -> Found:
    """R² of each factor, by a ridge regression chosen on `val` and by twenty neighbours."""
    episodes = torch.cat([part.episode for part in rows.values()])
    found = {}
    for name, y in targets(rows).items():
        train, val, test = ((features[split], y[split]) for split in ("train", "val", "test"))
        found[name] = (ridge_probe(train, val, test, episodes).r2.value, knn_regress(*train, *test))
    return found


@torch.no_grad()
def probed(checkpoint: Path, part: str, rows: dict[str, Rows]) -> Found:
    """What the mean patch token of a checkpoint's encoder knows."""
    encoder = load_encoder(str(checkpoint), part)
    with mixed("cpu"):
        means = {
            split: torch.cat([encoder(chunk).float().mean(dim=1) for chunk in rows[split].pixels.split(BATCH)])
            for split in rows
        }
    return probe(means, rows)


def one_run(config: Path, seed: int, folder: Path, shards: Path, rows: dict[str, Rows]) -> dict[str, Any]:
    """Train and probe one objective with one seed, unless it is done; the minutes of training are beside it."""
    here = folder / f"{config.stem}-{seed}"
    options = [f"--run={here}", f"--data.folder={shards}", f"--seed_everything={seed}", f"--data.seed={seed}"]
    if config.stem == "alignment":
        options.append(f"--source={folder / f'ijepa-{seed}'}")
    verb("pretrain", f"--config={config}", *options, alone=True)
    done = here / "probed.json"
    if done.is_file():
        return read_json(done)
    manifest = read_manifest(here, "pretrain")
    part = "teacher" if (here / "model" / "teacher").is_dir() else "encoder"
    found = {
        "minutes": manifest["seconds"] / 60,
        "trained": probed(here / "model", part, rows),
        "random-init": probed(here / "checkpoints" / "step-000000", part, rows),
    }
    write_json(done, found)
    return found


def exact(rows: dict[str, Rows]) -> dict[str, Tensor]:
    """The factors themselves as features, all of one spread: what knows everything and prefers nothing."""
    asked = [[y[split] for split in rows] for y in targets(rows).values()]
    spread = [torch.std_mean(train, dim=0) for train, *_ in asked]
    scaled = [[(part - mean) / std for part in parts] for parts, (std, mean) in zip(asked, spread, strict=True)]
    return {split: torch.cat(parts, dim=1) for split, parts in zip(rows, zip(*scaled, strict=True), strict=True)}


def controls_of(rows: dict[str, Rows], done: Path) -> dict[str, Found]:
    """What the same probes find in pixels, and in the factors themselves."""
    if not done.is_file():
        pixels = {split: part.pixels.flatten(1).float() for split, part in rows.items()}
        write_json(done, {"pixels": probe(pixels, rows), "exact factors": probe(exact(rows), rows)})
    found: dict[str, Found] = read_json(done)
    return found


def table(runs: dict[str, list[dict[str, Any]]], controls: dict[str, Found], column: int) -> str:
    """A row for each objective: means over seeds of what is trained and, in brackets, of its random start.

    A cross is where the start is not beaten with every seed; a dash, where the exact factors do not beat it either.
    """
    lines: dict[str, dict[str, str]] = {}
    for name, found in runs.items():
        # The least: where other work ran beside, it can only have taken longer.
        lines[name] = {"minutes of a core": f"{min(one['minutes'] for one in found):.1f}"}
        for factor, known in controls["exact factors"].items():
            trained, start = ([one[key][factor][column] for one in found] for key in ("trained", "random-init"))
            beaten = min(a - b for a, b in zip(trained, start, strict=True)) > 0
            spread = f" ± {statistics.stdev(trained):.3f}" if len(trained) > 1 else ""
            mark = "" if beaten else " –" if known[column] <= statistics.mean(start) else " ✗"
            lines[name][factor] = f"{statistics.mean(trained):.3f}{spread} ({statistics.mean(start):.3f}){mark}"
    for name, control in controls.items():
        lines[name] = {"minutes of a core": ""} | {factor: f"{value[column]:.3f}" for factor, value in control.items()}
    enough = [factor for factor, value in controls["pixels"].items() if value[column] >= ENOUGH]
    suffice = f"Pixels suffice (R² of {ENOUGH} or more) for: {', '.join(enough) or 'none'}."
    return f"{markdown('objective', lines)}\n\n{suffice}"


def main() -> None:
    """Collect, train, probe, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", help="names of configs; all if none is given")
    arguments = parser.parse_args()
    shards = arguments.out / "shards"
    config = config_root() / "objectives" / "data" / "collect.yaml"
    verb("collect", f"--config={config}", f"--out={shards}", alone=True)
    rows = read_splits(str(shards), FRAMES, 0)
    configs = sorted(
        (config_root() / "objectives").glob("*.yaml"), key=lambda config: (config.stem == "alignment", config.stem)
    )
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in arguments.seeds:
        for config in configs:
            if not arguments.only or config.stem in arguments.only:
                runs.setdefault(config.stem, []).append(one_run(config, seed, arguments.out, shards, rows))
                print(config.stem, seed, json.dumps(runs[config.stem][-1]), flush=True)
    controls = controls_of(rows, arguments.out / "controls.json")
    texts = [f"{name}, R²:\n\n{table(runs, controls, column)}" for column, name in enumerate(("Linear probe", "kNN"))]
    replace_section(RESULTS, "learning", "\n\n".join([*texts, f"{len(arguments.seeds)} seeds. {machine()}"]))


if __name__ == "__main__":
    main()
