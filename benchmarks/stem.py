"""What lets a small encoder begin: `python -m benchmarks.stem`, after `jepa-wm collect --config push_t/collect`.

A vision transformer of the Push-T demo's size learns from labels, frame by frame, where pusher and block are and how
the block is turned: as the demo does it, on one core; with weights as published in place of those that their widths ask
for, in larger batches, and without convolutions beside its patches. As many frames for all; R² is of held-out episodes.
Writes a section of docs/results.md; the last line is JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm.dynamics.heads import StateHead
from jepa_wm.encoders import BlockOptions, ConvStem, GridPool, ViT
from jepa_wm.optim import adamw
from jepa_wm.precision import mixed
from probes.features import Rows, encode, read_splits
from probes.linear import r_squared

FRAMES, SEEN, LR = 30_000, 600 * 64, 1e-3
WHAT = {"pusher": [0, 1], "block": [2, 3], "block's angle": [4, 5]}
POSE = [column for columns in WHAT.values() for column in columns]


class Way(NamedTuple):
    """How an encoder is made and trained."""

    stem: bool = True
    init_std: float | None = None
    batch: int = 64


WAYS = {
    "as in the demo": Way(),
    "weights of .02": Way(init_std=0.02),
    "batches of 256": Way(batch=256),
    "without convolutions": Way(stem=False),
}


def learned(way: Way, rows: dict[str, Rows], seed: int) -> dict[str, float]:
    """R² of what an encoder and a head have learned of the state, and the seconds."""
    torch.manual_seed(seed)
    train, test, steps = rows["train"], rows["test"], SEEN // way.batch
    stem, block = ConvStem() if way.stem else None, BlockOptions(init_std=way.init_std)
    encoder = ViT(patch=8, dim=128, depth=2, heads=8, block=block, pooling=GridPool(64, 8), stem=stem)
    head = StateHead(64, 1, 8, columns=POSE)
    mean, std = train.state.mean(dim=0), train.state.std(dim=0)
    head.prepare({"state_mean": mean.tolist(), "state_std": std.tolist()})
    optimizer = adamw(nn.ModuleDict({"encoder": encoder, "head": head}), LR, 0.05, (0.9, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, steps, pct_start=0.05)
    start = time.perf_counter()
    for _ in range(steps):
        drawn = torch.randint(0, len(train.ids), (way.batch,))
        with mixed("cpu"):
            latents = encoder.pooled(train.pixels[drawn])[:, None, None]
            loss = head.error(latents, {"state": train.state[drawn, None]})
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    seconds = time.perf_counter() - start
    with torch.no_grad(), mixed("cpu"):
        told = head(encode(encoder.eval(), test.pixels)[:, None])
    found = r_squared(told.double(), test.state.double())
    return {name: found[columns].mean().item() for name, columns in WHAT.items()} | {"seconds": seconds}


def main() -> None:
    """Train, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/push_t/collect"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_splits(str(arguments.data), FRAMES, arguments.seed)
    found = {}
    for name, way in WAYS.items():
        found[name] = learned(way, rows, arguments.seed)
        print(name, found[name], flush=True)
    lines = {name: {key: f"{value:.2f}" for key, value in row.items()} for name, row in found.items()}
    text = f"After {SEEN:,} frames, one seed; R²:"
    replace_section(RESULTS, "stem", f"{text}\n\n{markdown('encoder', lines)}\n\n{machine()}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
