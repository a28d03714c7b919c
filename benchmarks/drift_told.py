"""What `benchmarks.drift` measured, as tables and curves with their intervals."""

from typing import Any

import numpy as np
import torch

from benchmarks.tables import markdown
from probes.report.charts import BLUE, GREY, ORANGE, Line, Panel
from probes.statistics import crossed_interval

SHOWN = (1, 5, 10, 20)
CURVES = (
    ("imagined", "imagined", BLUE, "-"),
    ("still", "nothing changes", ORANGE, "--"),
    ("noisy", "noise on the pixels", GREY, ":"),
)
"""What is drawn: its name in what was measured, in the legend, its colour and style."""


def told(errors: dict[str, np.ndarray], things: list[str], machine: str) -> dict[str, Any]:
    """What is kept of a family: table rows by thing, "" the latents, and curves, a mean and its interval a step.

    Args:
        errors: (seeds, E, K) by name.
        things: what moves, whose place was read.
        machine: what it was measured on.
    """
    curves = {kind: [bounded(each) for each in np.moveaxis(errors[kind], -1, 0)] for kind, *_ in CURVES}
    return {"rows": {thing: row(errors, thing) for thing in ["", *things]}, "curves": curves, "machine": machine}


def bounded(errors: np.ndarray) -> list[float]:
    """The mean of errors (seeds, E) and its interval, over seeds and over the episodes that all of them share."""
    low, high = crossed_interval(torch.from_numpy(errors).double(), torch.Generator().manual_seed(0))
    return [round(float(value), 4) for value in (errors.mean(), low, high)]


def row(errors: dict[str, np.ndarray], thing: str) -> dict[str, str]:
    """A table's row: the error after some steps, and standing still, others' actions and the floor beside it."""
    kinds = ("imagined", "still", "others", "real" if thing else "noisy")
    imagined, still, others, floor = (errors[f"{thing} {kind}".strip()] for kind in kinds)
    asked = {f"{step}": imagined[..., step - 1] for step in SHOWN}
    for name, control in (("still", still), ("others' actions", others)):
        asked |= {f"{name}, {step}": control[..., step - 1] for step in (1, SHOWN[-1])}
    each = {name: bounded(values) for name, values in (asked | {"floor": floor.mean(axis=-1)}).items()}
    return {name: f"{mean:.3f} [{low:.3f}, {high:.3f}]" for name, (mean, low, high) in each.items()}


def panels(kept: dict[str, dict[str, Any]]) -> list[Panel]:
    """A chart for each family of each world: imagined, standing still and noisy pixels over the steps."""
    return [
        Panel(f"{world}: {family}", [line(found["curves"][kind], *drawn) for kind, *drawn in CURVES])
        for world, families in kept.items()
        for family, found in families.items()
    ]


def line(curve: list[list[float]], label: str, colour: str, style: str) -> Line:
    """A curve of means, and their intervals about it."""
    points = {step: mean for step, (mean, _, _) in enumerate(curve, 1)}
    return Line(label, points, colour, style, {step: (low, high) for step, (_, low, high) in enumerate(curve, 1)})


def section(kept: dict[str, dict[str, Any]]) -> str:
    """The tables of all worlds, and what was measured on what."""
    texts, machines = [], dict[str, list[str]]()
    for world, families in kept.items():
        for thing in next(iter(families.values()))["rows"]:
            what = f"place of the {thing}, in sides" if thing else "latents, in parts of their variance"
            rows = {family: found["rows"][thing] for family, found in families.items()}
            texts.append(f"{world}, {what}:\n\n{markdown('family', rows)}")
        for family, found in families.items():
            machines.setdefault(found["machine"], []).append(f"{world} {family}")
    where = [f"- {', '.join(names)}: {machine}" for machine, names in machines.items()]
    return "\n\n".join([*texts, "Measured on:", "\n".join(where)])
