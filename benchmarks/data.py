"""How fast shards are read, beside the peers: `python -m benchmarks.data --peer PEER/bin/python`.

`--peer` names the Python of an environment with stable-worldmodel (`pip install 'stable-worldmodel[all]'`),
`--peer-source` a clone of its repository: the two differ, and what is compared with is the clone, if there is one.
Without a peer its rows are left out. Medians of five; rewrites the section of docs/benchmarks.md; the last line
is JSON. About ten minutes the first time, six with a `--work` folder that is kept.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import data_clips, data_images, data_large
from benchmarks.tables import BENCHMARKS, machine, markdown, replace_section

REPEATS = 5
PARTS = ("images", "clips", "large")


def main() -> None:
    """Measure each part, write the tables and print the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of an environment with stable-worldmodel")
    parser.add_argument("--peer-source", help="a clone of it, read in place of the release that is installed")
    parser.add_argument("--work", help="folder for the data; by default one that is removed at the end")
    parser.add_argument("--only", choices=PARTS, help="measure one part, and leave the document alone")
    arguments = parser.parse_args()
    parts = [arguments.only] if arguments.only else list(PARTS)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(arguments.work or temporary).resolve()
        tables, figures = measure(work, data_clips.Peer(arguments.peer, arguments.peer_source), parts)
    text = "\n\n".join([*tables, machine()])
    if arguments.only:
        print(text)
    else:
        replace_section(BENCHMARKS, "data", text)
    print(json.dumps({name: None if value is None else round(value, 3) for name, value in figures.items()}))


def measure(work: Path, peer: data_clips.Peer, parts: list[str]) -> tuple[list[str], dict[str, float | None]]:
    """The tables and the figures of some parts."""
    tables, figures = [], dict[str, float | None]()
    for part in parts:
        table, own = {"images": _images, "clips": lambda w: _clips(w, peer), "large": _large}[part](work)
        tables.append(table)
        figures |= own
    return tables, figures


def _images(work: Path) -> tuple[str, dict[str, float | None]]:
    rows, figures = {}, dict[str, float | None]()
    for size, (height, width) in data_images.SIZES.items():
        found = data_images.measure(work, size, REPEATS)
        rows[f"{height} x {width}, {found['bytes'] / 1000:.0f} kB"] = {
            "decoder alone": f"{found['rates']['decoder']:,.0f}",
            "webdataset": f"{found['rates']['webdataset']:,.0f}",
            "ours": f"{found['rates']['ours']:,.0f}",
            "of the decoder": f"{found['ratios']['decoder']:.2f}",
            "of webdataset": f"{found['ratios']['webdataset']:.2f}",
        }
        figures = {f"images_vs_{name}": ratio for name, ratio in found["ratios"].items()}
    return markdown("images/s on one core, simplejpeg everywhere", rows), figures


def _clips(work: Path, peer: data_clips.Peer) -> tuple[str, dict[str, float | None]]:
    rows: dict[str, dict[str, Any]] = {}
    figures: dict[str, float | None] = {}
    for size in (64, 224):
        found = data_clips.measure(work, size, peer, REPEATS)
        lance = found.get("lance clone") or found.get("lance release")
        names = {
            "ours": "ours, mjpeg",
            "compact": "ours, mp4",
            "lance clone": "stable-worldmodel, Lance, clone",
            "lance release": "stable-worldmodel, Lance, release",
        }
        for name, own in found.items():
            rows[f"{names[name]}, {size} px"] = {
                "clips/s": f"{own['clips']:,.0f}",
                "kB a frame": f"{own['bytes'] / 1000:.2f}",
                "first batch, s": f"{own['first_batch_s']:.2f}",
            }
        figures[f"clips{size}_vs_lance"] = found["ours"]["clips"] / lance["clips"] if lance else None
        figures[f"bytes{size}_vs_lance"] = found["ours"]["bytes"] / lance["bytes"] if lance else None
        if size == 224:
            figures["compact_bytes_vs_lance"] = found["compact"]["bytes"] / lance["bytes"] if lance else None
            figures["compact_clips_vs_lance"] = found["compact"]["clips"] / lance["clips"] if lance else None
        figures["first_batch_s"] = max(figures.get("first_batch_s") or 0.0, found["ours"]["first_batch_s"])
    return markdown("clips of 4 frames, frame skip 5, 2 workers", rows), figures


def _large(work: Path) -> tuple[str, dict[str, float | None]]:
    found = data_large.measure(work, REPEATS)
    rows = {
        "first batch of 1,040,000 samples, cold": {"": f"{found['cold_s']:.2f} s"},
        "first batch after skipping 1,000,000": {"": f"{found['resumed_s']:.2f} s"},
        "memory at the end of an epoch of 100,000": {"": f"{found['memory_mib']:.0f} MiB"},
        "growth since its first tenth": {"": f"{found['growth']:.1%}"},
    }
    extra = found["resumed_s"] - found["cold_s"]
    return markdown("many samples, 2 workers", rows), {"resume_extra_s": extra, "memory_growth": found["growth"]}


if __name__ == "__main__":
    main()
