"""Markdown tables, and the sections of documents that commands write."""

import os
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from jepa_wm.manifest import provenance
from jepa_wm.processor import processor

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "results.md"
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
WIDE = 2048
"""Side of the matrices that tell a machine's rate."""


def machine() -> str:
    """One line: what a measurement was made on, and when."""
    cores = len(os.sched_getaffinity(0))
    versions = provenance()["versions"]
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{date.today()}, {processor()}, {cores} cores, {accelerator}, torch {versions['torch']}."


def bare() -> dict[str, float]:
    """GFLOP/s of bare products on this machine, by precision."""
    found = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        factor, taken = torch.randn(WIDE, WIDE).to(dtype), []
        for _ in range(9):
            began = time.perf_counter()
            factor @ factor
            taken.append(time.perf_counter() - began)
        found[precision] = 2 * WIDE**3 / statistics.median(taken) / 1e9
    return found


def rates(found: dict[str, float]) -> str:
    """One line: what `bare` products reach on this machine, on whose ratio those of half precision depend."""
    fp32, bf16 = found["fp32"], found["bf16"]
    return f"Bare products of {WIDE} x {WIDE} here: {fp32:.0f} GFLOP/s in float32 and {bf16:.0f} GFLOP/s in bfloat16."


def markdown(corner: str, rows: dict[str, dict[str, Any]]) -> str:
    """A table with a row for each name; the first row's keys are the columns."""
    columns = list(next(iter(rows.values())))
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(str(row[column]) for column in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)


def replace_section(path: Path, name: str, text: str) -> None:
    """Put `text` between the markers `<!-- name -->` and `<!-- /name -->` of a document.

    Raises:
        ValueError: if the document lacks the markers.
    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    document = path.read_text()
    before, found, rest = document.partition(opening)
    _, closed, after = rest.partition(closing)
    if not found or not closed:
        raise ValueError(f"{path} lacks the markers {opening} and {closing}")
    path.write_text(f"{before}{opening}\n{text}\n{closing}{after}")
