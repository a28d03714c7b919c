"""What a stem of convolutions is worth: `python -m benchmarks.stem`, after `jepa-wm collect --config push_t/collect`.

A vision transformer of the Push-T demo's size learns from labels, frame by frame, where pusher and block are and how
the block is turned: with `ConvStem` and without, told of velocities, too, which no frame shows, and not. As many steps
and frames for all; R² is of held-out episodes. Writes a section of docs/results.md; the last line is JSON.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm.dynamics.heads import StateHead
from jepa_wm.encoders import ConvStem, GridPool, ViT
from jepa_wm.optim import adamw
from jepa_wm.precision import mixed
from probes.features import Rows, encode, read_splits
from probes.linear import r_squared

FRAMES, STEPS, BATCH, LR = 30_000, 300, 256, 1e-3
STEMS = {"patches alone": None, "with convolutions": ConvStem()}
WHAT = {"pusher": [0, 1], "block": [2, 3], "block's angle": [4, 5]}
POSE = [column for columns in WHAT.values() for column in columns]
TOLD = {"places and angle": POSE, "velocities, too": [*POSE, 6, 7]}


def learned(stem: ConvStem | None, columns: list[int], rows: dict[str, Rows], seed: int) -> dict[str, float]:
    """R² of what an encoder and a head have learned of the state, and the seconds."""
    torch.manual_seed(seed)
    train, test = rows["train"], rows["test"]
    encoder = ViT(patch=8, dim=128, depth=3, heads=2, pooling=GridPool(64, 8), stem=stem)
    head = StateHead(64, 1, 8, columns=columns)
    mean, std = train.state.mean(dim=0), train.state.std(dim=0)
    head.prepare({"state_mean": mean.tolist(), "state_std": std.tolist()})
    optimizer = adamw(nn.ModuleDict({"encoder": encoder, "head": head}), LR, 0.05, (0.9, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, STEPS, pct_start=0.05)
    start = time.perf_counter()
    for _ in range(STEPS):
        drawn = torch.randint(0, len(train.ids), (BATCH,))
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
    torch.set_num_threads(2)
    rows = read_splits(str(arguments.data), FRAMES, arguments.seed)
    found = {}
    for told, columns in TOLD.items():
        for name, stem in STEMS.items():
            found[f"{name}, {told}"] = learned(stem, columns, rows, arguments.seed)
            print(name, told, found[f"{name}, {told}"], flush=True)
    lines = {name: {key: f"{value:.2f}" for key, value in row.items()} for name, row in found.items()}
    text = f"After {STEPS} steps of {BATCH} frames, one seed; R²:"
    replace_section(RESULTS, "stem", f"{text}\n\n{markdown('encoder, labels', lines)}\n\n{machine()}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
