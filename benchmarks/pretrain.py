"""A training step of ours against plain PyTorch's that does the published code's work: `python -m benchmarks.pretrain`.

ViT-S/16, the same masks, batch and model, both in one run and by turns; seconds are medians. Ratios are the baseline's
seconds over ours, at equal precision; shares are of the rate of bare matrix products in the same run; the memory ratio
is the largest of ours over the baseline's peak, each in a process of its own. On a GPU: the share of the peak that
ViT-L reaches, with compiled blocks. The last line is JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.pretrain_baseline import DTYPES, IJEPA, VJEPA, Masks, Precision, Shapes, draw_masks
from benchmarks.pretrain_baseline import ijepa_step as plain_ijepa
from benchmarks.pretrain_baseline import vjepa_step as plain_vjepa
from benchmarks.pretrain_flops import THREADS, gflop, medians, products, products_gflop
from benchmarks.tables import BENCHMARKS, machine, markdown, replace_section
from jepa_wm.data.masks import Mask
from jepa_wm.encoders import Rope, SinCos, ViT
from jepa_wm.objectives import MaskedLatentPrediction, PredictorOptions
from jepa_wm.optim import adamw
from jepa_wm.schedules import Constant

SETTINGS: dict[str, tuple[Shapes, Callable]] = {"ijepa": (IJEPA, plain_ijepa), "vjepa": (VJEPA, plain_vjepa)}
ASKED = {"ijepa_fp32": 1.0, "ijepa_bf16": 1.25, "vjepa_fp32": 1.15, "vjepa_bf16": 1.6}
ASKED |= {"mm_share_fp32": 0.85, "mm_share_bf16": 0.55, "memory_ratio": 1.0}


class Given:
    """Masks that are written down, one after the other."""

    def __init__(self, keep: Tensor, predict: Tensor) -> None:
        self.mask = Mask(keep, predict)

    def sample(self, grid: tuple[int, int, int], batch: int, generator: torch.Generator) -> Mask:
        """The mask."""
        return self.mask


def objective(setting: str, masks: Masks) -> MaskedLatentPrediction:
    """Ours, of the baseline's shapes."""
    shapes = SETTINGS[setting][0]
    images = setting == "ijepa"
    vit = ViT(
        shapes.patch,
        shapes.tubelet,
        shapes.dim,
        shapes.depth,
        shapes.heads,
        positions=SinCos(2) if images else Rope(tiled=True),
    )
    options = PredictorOptions(shapes.predictor_dim, shapes.predictor_depth, shapes.heads)
    if images:
        given = [Given(masks.context[0], torch.stack(masks.targets, dim=1))]
        return MaskedLatentPrediction(vit, given, options, Constant(0.996), "smooth_l1")
    given = [Given(keep, predict[:, None]) for keep, predict in zip(*masks, strict=True)]
    return MaskedLatentPrediction(vit, given, options, Constant(0.99925))


def our_step(setting: str, precision: Precision, masks: Masks) -> Callable[[], float]:
    """A function that trains ours for a step and returns the loss."""
    shapes = SETTINGS[setting][0]
    made = objective(setting, masks).train()
    size = (shapes.batch, 3, shapes.size, shapes.size)
    clips = (shapes.batch, shapes.frames, *size[1:])
    pixels = torch.randint(0, 256, size if setting == "ijepa" else clips, dtype=torch.uint8)
    optimizer = adamw(made, 2e-4, 0.04, (0.9, 0.999))

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = made({"pixels": pixels, "step": 0, "progress": 0.5})["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        made.after_step(0.5)
        return loss.item()

    return step


def figures_of(setting: str, precision: Precision) -> dict[str, float]:
    """Seconds of both, and our share of the rate of bare products."""
    shapes, plain = SETTINGS[setting]
    masks = draw_masks(shapes)
    ours, theirs = our_step(setting, precision, masks), plain(precision, masks)
    seconds = medians({"ours": ours, "baseline": theirs, "products": products(DTYPES[precision])})
    bare = products_gflop() / seconds["products"]
    work = gflop(ours), gflop(theirs)
    return {
        "ours": seconds["ours"],
        "baseline": seconds["baseline"],
        "ratio": seconds["baseline"] / seconds["ours"],
        "gflop": work[0],
        "gflop_baseline": work[1],
        "share": work[1] / seconds["ours"] / bare,
        "share_baseline": work[1] / seconds["baseline"] / bare,
        "bare": bare,
        "memory": peak_gib("ours", setting, precision) / peak_gib("baseline", setting, precision),
    }


def peak_gib(who: str, setting: str, precision: str) -> float:
    """Peak memory of a few steps in a process of its own, less what it had before."""
    command = [sys.executable, "-m", "benchmarks.pretrain", "--peak", who, setting, precision]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_peak(who: str, setting: str, precision: Precision) -> None:
    """What `peak_gib` asks of its process."""
    shapes, plain = SETTINGS[setting]
    masks = draw_masks(shapes)
    step = our_step(setting, precision, masks) if who == "ours" else plain(precision, masks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        step()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)


def main() -> None:
    """Measure, write the section of docs/benchmarks.md, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    if arguments.peak:
        print_peak(*arguments.peak)
        return
    found = {}
    for setting in SETTINGS:
        for precision in DTYPES:
            found[f"{setting}_{precision}"] = figures = figures_of(setting, precision)
            print(setting, precision, json.dumps(figures), flush=True)
    summary = {name: round(figures["ratio"], 2) for name, figures in found.items()}
    for precision in DTYPES:
        best = max(figures["share"] for name, figures in found.items() if name.endswith(precision))
        summary[f"mm_share_{precision}"] = round(best, 2)
    summary["memory_ratio"] = round(max(figures["memory"] for figures in found.values()), 2)
    asked = {name: {"asked": f"≥ {value}", "measured": summary[name]} for name, value in ASKED.items()}
    asked["memory_ratio"]["asked"] = "≤ 1"
    tables = [markdown("key", asked), markdown("step", {name: row(figures) for name, figures in found.items()})]
    replace_section(BENCHMARKS, "pretrain", "\n\n".join([*tables, machine()]))
    print(json.dumps(summary))


def row(figures: dict[str, float]) -> dict[str, str]:
    """One setting's row of the table."""
    return {
        "ours, s": f"{figures['ours']:.2f}",
        "plain PyTorch, s": f"{figures['baseline']:.2f}",
        "ratio": f"{figures['ratio']:.2f}",
        "GFLOP a step": f"{figures['gflop_baseline']:.0f}",
        "share of bare products": f"{figures['share']:.0%} (plain {figures['share_baseline']:.0%})",
        "bare products, GFLOP/s": f"{figures['bare']:.0f}",
        "peak memory, ours over plain": f"{figures['memory']:.2f}",
    }


if __name__ == "__main__":
    main()
