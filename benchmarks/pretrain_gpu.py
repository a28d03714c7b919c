"""The steps of `benchmarks.pretrain` on a GPU, at a batch that fills it: `python -m benchmarks.pretrain_gpu`.

Ours and plain PyTorch's by turns in one process; the GPU is done with a step before the clock is read. bf16 is
autocast, fp32 is without TF32. Memory is the most that tensors took at once in a step of either alone. Nothing is
written to docs/benchmarks.md: the table is printed, and the last line is JSON.
"""

import argparse
import json
from collections.abc import Callable
from typing import get_args

import torch

from benchmarks.pretrain import our_step
from benchmarks.pretrain_baseline import (
    DTYPES,
    IJEPA,
    VJEPA,
    Clips,
    Images,
    Masks,
    Precision,
    Shapes,
    clips,
    draw_masks,
    images,
    step_of,
)
from benchmarks.pretrain_flops import gflop, medians, products, products_gflop
from benchmarks.tables import machine, markdown

SETTINGS: dict[str, tuple[Shapes, Callable[[Shapes], Images | Clips], int]] = {
    "ijepa": (IJEPA, images, 256),
    "vjepa": (VJEPA, clips, 64),
}
"""Shapes, the networks that plain PyTorch trains, and how many images or clips a batch has."""
SIDE, REPEATS = 8192, 20


def peak(step: Callable[[], float]) -> float:
    """GiB of tensors at most during a step, weights and the optimiser's moments included."""
    step()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() / 2**30


def steps_of(
    setting: str, precision: Precision, shapes: Shapes, device: str
) -> dict[str, Callable[[], Callable[[], float]]]:
    """What makes a step of ours, and one of plain PyTorch, of the same masks."""
    drawn = draw_masks(shapes)
    masks = Masks(*([mask.to(device) for mask in part] for part in drawn))

    def baseline() -> Callable[[], float]:
        with torch.device(device):
            return step_of(SETTINGS[setting][1](shapes), precision, masks)

    return {"ours": lambda: our_step(shapes, precision, masks, device), "baseline": baseline}


def figures_of(setting: str, precision: Precision, batch: int | None) -> dict[str, float]:
    """Samples a second, TFLOP/s and memory of both, and the rate of bare products."""
    shapes, _, own = SETTINGS[setting]
    shapes = shapes._replace(batch=batch or own)
    makers = steps_of(setting, precision, shapes, "cuda")
    # One after the other, so that neither's weights lie beside the other's.
    peaks = {name: peak(make()) for name, make in makers.items()}
    steps = {name: make() for name, make in makers.items()}
    work = {name: gflop(step) for name, step in steps.items()}
    seconds = medians({**steps, "products": products(DTYPES[precision], "cuda", SIDE)}, REPEATS)
    bare = products_gflop(SIDE) / seconds["products"]
    return {
        "ours, samples/s": shapes.batch / seconds["ours"],
        "plain, samples/s": shapes.batch / seconds["baseline"],
        "ratio": seconds["baseline"] / seconds["ours"],
        "ours, TFLOP/s": min(work.values()) / seconds["ours"] / 1e3,
        "bare products, TFLOP/s": bare / 1e3,
        "share": min(work.values()) / seconds["ours"] / bare,
        "ours, GiB": peaks["ours"],
        "plain, GiB": peaks["baseline"],
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, help="images or clips, in place of what fills a large GPU")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch sees no GPU here; on a processor it is `python -m benchmarks.pretrain`")
    torch.manual_seed(0)
    found = {}
    for setting in SETTINGS:
        for precision in get_args(Precision):
            name = f"{setting}_{precision}"
            found[name] = figures_of(setting, precision, arguments.batch)
            print(name, json.dumps(found[name]), flush=True)
    rows = {name: {key: f"{value:.3g}" for key, value in figures.items()} for name, figures in found.items()}
    print("\n".join([markdown("step", rows), "", machine(), ""]))
    print(json.dumps({name: {key: round(value, 3) for key, value in one.items()} for name, one in found.items()}))


if __name__ == "__main__":
    main()
