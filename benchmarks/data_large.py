"""A million samples: resuming behind them, and memory over a tenth of them; part of `benchmarks.data`.

As a script it starts a loader in a process of its own: FOLDER SKIPPED, or FOLDER memory SAMPLES.
"""

import io
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from jepa_wm.data import Images, Loader, Shards
from jepa_wm.data.writer import summarise, write_shard
from jepa_wm.manifest import write_manifest

SHARD, SHARDS = 20_000, 52
SKIPPED = 1_000_000
EPOCH = 100_000


def write(folder: Path) -> None:
    """Shards of tiny images, more than a million of them."""
    pictures = []
    for number in range(64):
        data = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 4 * number, np.uint8)).save(data, "png")
        pictures.append(data.getvalue())
    records = [
        write_shard(
            folder / f"train-{shard:06d}.tar",
            ((f"{shard}-{number}", {"png": pictures[number % 64]}) for number in range(SHARD)),
        )
        for shard in range(SHARDS)
    ]
    write_manifest(folder, "pack", kind="images", config={}, splits={"train": summarise(records)})


def measure(work: Path, repeats: int) -> dict[str, float]:
    """Seconds to the first batch, cold and behind a million samples; growth of memory over an epoch."""
    folder = work / "million"
    if not folder.exists():
        write(folder)
    cold, behind = [], []
    for _ in range(repeats):
        cold.append(_start(folder, "0"))
        behind.append(_start(folder, str(SKIPPED)))
    before, after = json.loads(_run(folder, "memory", str(EPOCH)))
    return {
        "cold_s": statistics.median(cold),
        "resumed_s": statistics.median(behind),
        "memory_mib": after / 2**20,
        "growth": after / before - 1,
    }


def start(folder: str, skipped: int) -> None:
    """Print seconds from nothing to the first batch, imports aside."""
    begin = time.perf_counter()
    loader = Loader(Images(Shards(folder)), 64, workers=2)
    if skipped:
        loader.load_state_dict({"epoch": 0, "samples": skipped, "of": SHARD * SHARDS})
    next(iter(loader))
    print(time.perf_counter() - begin)


def memory(folder: str, samples: int) -> None:
    """Print the memory of the loader and its workers, in bytes, after a tenth of an epoch and at its end."""
    shards = [str(path) for path in sorted(Path(folder).glob("*.tar"))][: -(-samples // SHARD)]
    loader = Loader(Images(Shards(shards)), 64, workers=2)
    before = 0
    for number, _ in enumerate(loader):
        if number == len(loader) // 10:
            before = _memory()
    print(json.dumps([before, _memory()]))


def _memory() -> int:
    """Bytes that this process and its children have to themselves, and their share of what they have in common."""
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    total = 0
    for process in [str(me), *children]:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


def _start(folder: Path, skipped: str) -> float:
    return float(_run(folder, skipped).splitlines()[-1])


def _run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.data_large", str(folder), *arguments]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    if sys.argv[2] == "memory":
        memory(sys.argv[1], int(sys.argv[3]))
    else:
        start(sys.argv[1], int(sys.argv[2]))
