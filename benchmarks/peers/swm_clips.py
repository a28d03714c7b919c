"""stable-worldmodel's writer and reader, in its own Python; knows nothing of this package.

swm_clips.py write RAW.npz… TABLE.lance      episodes of raw frames, by its own writer
swm_clips.py read TABLE.lance WORKERS BATCHES BATCH FRAMES SKIP
"""

import json
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from stable_worldmodel.data.formats.lance import LanceDataset, LanceWriter


def write(table: str, paths: list[str]) -> None:
    """Write episodes through one stream, as its `collect` does."""

    def episodes() -> Iterator[dict[str, list[np.ndarray]]]:
        for path in paths:
            with np.load(path) as arrays:
                yield {name: list(arrays[name]) for name in ("pixels", "action", "state")}

    with LanceWriter(table, mode="overwrite") as writer:
        writer.write_episodes(episodes())


def read(table: str, workers: int, batches: int, batch: int, frames: int, skip: int) -> None:
    """Seconds to the first batch, and clips a second after it; settings as in its own training of LeWM."""
    start = time.perf_counter()
    data = LanceDataset(table, num_steps=frames, frameskip=skip)
    loader = torch.utils.data.DataLoader(
        data, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True, prefetch_factor=3
    )
    seen, first = 0, 0.0
    while seen <= batches:
        for rows in loader:
            assert rows["pixels"].shape[:2] == (batch, frames)
            if not seen:
                first, start = time.perf_counter() - start, time.perf_counter()
            seen += 1
            if seen > batches:
                break
    print(json.dumps({"first_batch_s": first, "clips": batch * (seen - 1) / (time.perf_counter() - start)}))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[-1], sys.argv[2:-1])
    else:
        read(sys.argv[2], *map(int, sys.argv[3:]))
