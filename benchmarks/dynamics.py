"""What a world model costs, beside LeWM of stable-worldmodel: `python -m benchmarks.dynamics --peer PEER/bin/python`.

`--peer` names the Python of an environment with stable-worldmodel (`pip install 'stable-worldmodel[all]'`). Training
steps are of one model, LeWM at 64 pixels, 32 clips of 4 frames; rollouts of 300 candidates over 5 blocks from one
frame, ours by a cached transformer of as many parameters, and by one of LeWM's own shape. Each side in a process of its
own, by turns, medians; ratios are of the peer's seconds in float32 over ours. Beside the seconds are the rate of each
side's own products, counted without packed weights, and its share of the rate of bare ones in the same precision. The
last two figures need no peer. The last line is JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.peak import peak
from benchmarks.pretrain_flops import gflop
from benchmarks.sides import Side
from benchmarks.tables import BENCHMARKS, bare, machine, markdown, rates, replace_section
from jepa_wm.allocator import keep_freed_memory
from jepa_wm.contracts import LatentTerm
from jepa_wm.dynamics import LeWMDynamics, TransformerDynamics, Trunk, rollout
from jepa_wm.encoders import Learned, ProjectedPool, vit
from jepa_wm.encoders.linear import packed
from jepa_wm.objectives import Forecasting, Rollout
from jepa_wm.objectives.terms import GaussianLatents
from jepa_wm.optim import adamw

PEER = Path(__file__).parent / "peers" / "swm_lewm.py"
BATCH, FRAMES, SIZE, CANDIDATES, HORIZON, ROUNDS = 32, 4, 64, 300, 5, 7
SHAPES = {"wide": Trunk(512, 2, 8, hidden=2560, dropout=0.1), "narrow": Trunk(192, 6, 16, 64, 2048, 0.1)}
"""Ours, whose wider blocks, and fewer, leave less between the products; and LeWM's own."""
ASKED = {"train_fp32": 1.15, "train_bf16": 2.5, "rollout_fp32": 2.0, "rollout_bf16": 6.0, "patch_rollout_cached": 5.0}


def train_step(precision: str) -> Callable[[], None]:
    """A function that trains ours, LeWM with its published settings, for a step."""
    encoder = vit("tiny", 16, positions=Learned((1, 4, 4)), prefix=1, pooling=ProjectedPool())
    terms: dict[str, LatentTerm] = {"sigreg": GaussianLatents(0.09, slices=1024)}
    made = Forecasting(encoder, LeWMDynamics(), terms, rollout=Rollout(0.0)).train()
    optimizer = adamw(made, 5e-5, 1e-3, (0.9, 0.999))
    pixels = torch.randint(0, 256, (BATCH, FRAMES, 3, SIZE, SIZE), dtype=torch.uint8)
    actions = torch.rand(BATCH, FRAMES - 1, 10)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = made({"pixels": pixels, "actions": actions, "step": 0})["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def predictor(shape: str = "wide") -> TransformerDynamics:
    """Ours of as many parameters as LeWM's, 11 million."""
    return TransformerDynamics(192, trunk=SHAPES[shape], window=3)


def rollout_step(shape: str, precision: str) -> Callable[[], None]:
    """A function that encodes a frame and rolls out the candidates, by a cached transformer of this shape.

    As `WorldModel.plan` does, the frame is encoded in float32: to bring the weights to bfloat16 takes longer; and
    weights are packed once for all rollouts, as they are for all rounds of a search.
    """
    encoder = vit("tiny", 16, positions=Learned((1, 4, 4)), prefix=1, pooling=ProjectedPool()).eval()
    made = predictor(shape).eval()
    pixels = torch.randint(0, 256, (1, 3, SIZE, SIZE), dtype=torch.uint8)

    @torch.no_grad()
    def step() -> None:
        seen, actions = encoder.pooled(pixels)[:, None, None], torch.rand(CANDIDATES, HORIZON, 10)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            rollout(made, seen, actions[:1, :0], actions)

    return step


def serve(shape: str, precision: str) -> None:
    """What our `Side` does: the seconds of `train` or `rollout`; `gflop train` or `gflop rollout`, the work in one."""
    torch.set_num_threads(2)
    keep_freed_memory()
    work = {"train": train_step(precision), "rollout": rollout_step(shape, precision)}
    counted = {f"gflop {name}": gflop(step) for name, step in work.items()}  # of products with packed weights none is
    print("=0", flush=True)
    with packed():
        for line in map(str.strip, sys.stdin):
            start = time.perf_counter()
            if line in work:
                work[line]()
            print(f"={counted.get(line, time.perf_counter() - start)}", flush=True)


def beside(peer: str) -> dict[str, dict[str, float]]:
    """Median seconds of all sides, by precision, of a training step and a rollout, and the work in each."""
    ours = [sys.executable, "-m", "benchmarks.dynamics", "--serve"]
    commands = {"peer": [peer, str(PEER)], "ours": [*ours, "wide"], "ours, of LeWM's shape,": [*ours, "narrow"]}
    found: dict[str, dict[str, float]] = {}
    for what, rounds, count in (("train", ROUNDS, 2), ("rollout", 3 * ROUNDS, 3)):
        sides = {
            f"{who} {precision}": Side([*command, precision])
            for precision in ("fp32", "bf16")
            for who, command in list(commands.items())[:count]
        }
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds + 2):
            for name, side in sides.items():
                taken[name].append(float(side(what)))
        for name, seconds in taken.items():
            work = float(sides[name](f"gflop {what}"))
            found.setdefault(name, {}).update({what: statistics.median(seconds[2:]), f"gflop {what}": work})
            sides[name].end()
    return found


def rated(side: dict[str, float], bare_rate: float) -> dict[str, str]:
    """A row of the table of sides: milliseconds, GFLOP/s, and the share of the rate of bare products."""
    row: dict[str, str] = {}
    for what in ("train", "rollout"):
        columns = what, f"{what}, GFLOP/s", f"{what}, share of bare products"
        rate = side.get(f"gflop {what}", 0.0) / side.get(what, 1.0)
        cells = f"{1e3 * side.get(what, 0.0):.0f} ms", f"{rate:.0f}", f"{rate / bare_rate:.0%}"
        row |= dict(zip(columns, cells if rate else ("", "", ""), strict=True))
    return row


@torch.inference_mode()
def patches() -> dict[str, float]:
    """Seconds of a rollout of patch tokens: with the window read anew at every step, with all frames, and cached.

    64 tokens a frame, a context of 8 frames which is also the window, 8 candidates, 8 steps. What is read anew from the
    window alone has not seen what its first frames saw; all frames tell as much as the cache, to rounding.
    """
    made = TransformerDynamics(192, (8, 8), trunk=Trunk(192, 6, 3), window=8).eval()
    seen, context, actions = torch.randn(1, 8, 64, 192), torch.randn(1, 7, 10), torch.randn(8, 8, 10)

    def anew(last: int) -> Tensor:
        latents, acted = seen.repeat(8, 1, 1, 1), torch.cat([context.repeat(8, 1, 1), actions], dim=1)
        for step in range(8):
            known = latents[:, -last:], acted[:, : 8 + step][:, -last:]
            latents = torch.cat([latents, made(*known)[:, -1:]], dim=1)
        return latents[:, 8:]

    torch.testing.assert_close(anew(16), rollout(made, seen, context, actions), rtol=1e-4, atol=1e-4)
    return {
        "window read anew": timed(lambda: anew(8)),
        "all frames read anew": timed(lambda: anew(16)),
        "cached": timed(lambda: rollout(made, seen, context, actions)),
    }


def timed(work: Callable[[], object]) -> float:
    """Median seconds of five, after one."""
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


@torch.inference_mode()
def memory(frames: int) -> dict[str, str]:
    """A row of the table of contexts: of 300 candidates that roll out for 5 steps from so many frames of 16 tokens."""
    made = TransformerDynamics(192, (4, 4), trunk=Trunk(192, 6, 3), window=32).eval()
    seen = made.start(torch.randn(1, frames, 16, 192), torch.randn(1, frames - 1, 10))
    states = [made.expand(seen, CANDIDATES)]

    def work() -> None:
        for _ in range(HORIZON):
            states.append(made.step(states.pop(), torch.randn(CANDIDATES, 10)))

    most = peak(work)
    parts = [part for cache in states[0].caches if cache for pair in (cache.shared, *cache.own) for part in pair]
    kept = sum(part.untyped_storage().nbytes() for part in parts)
    return {"MiB held by 300 candidates": f"{kept / 2**20:.1f}", "MiB at most on the way": f"{most / 2**20:.1f}"}


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="Python of an environment with stable-worldmodel")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(*arguments.serve)
    torch.set_num_threads(2)
    figures: dict[str, float] = {}
    tables, products = [], bare()
    if arguments.peer:
        seconds = beside(arguments.peer)
        sides = {name: rated(found, products[name.split()[-1]]) for name, found in seconds.items()}
        tables.append(markdown("side", sides))
        for what in ("train", "rollout"):
            for precision in ("fp32", "bf16"):
                figures[f"{what}_{precision}"] = seconds["peer fp32"][what] / seconds[f"ours {precision}"][what]
    taken = patches()
    figures["patch_rollout_cached"] = taken["window read anew"] / taken["cached"]
    tables.append(
        markdown(
            "64 tokens a frame", {"8 candidates, 8 steps": {name: f"{1e3 * s:.0f} ms" for name, s in taken.items()}}
        )
    )
    tables.append(markdown("context", {f"{frames} frames seen": memory(frames) for frames in (1, 8, 24)}))
    asked = {name: {"measured": f"{value:.2f}", "asked": f"{ASKED[name]:.2f}"} for name, value in figures.items()}
    missed = [f"{name} by {1 - value / ASKED[name]:.0%}" for name, value in figures.items() if value < ASKED[name]]
    tables.insert(0, f"Short of what was asked: {', '.join(missed) or 'none'}.")
    tables.insert(0, markdown("figure", asked))
    if arguments.peer:
        replace_section(BENCHMARKS, "dynamics", "\n\n".join([*tables, rates(products), machine()]))
    else:
        print("docs/benchmarks.md is left as it is: without --peer nothing is compared", file=sys.stderr)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
