"""How it came about: probes over training steps, and training against validation."""

from probes.report.charts import BLUE, GREEN, GREY, ORANGE, Line, Panel, constant, small_multiples
from probes.report.html import Markup, element, missing, note, section
from probes.report.inputs import TRAINED, Curves, Runs
from probes.report.results import MODELS, metric_label, metrics

COLOURS = {"pretrain": BLUE, "forecast": ORANGE}
CONTROLS = {"random_init": GREY, "pixels": GREEN}


def over_steps(runs: Runs) -> Markup:
    """Every probe over the steps of both stages, with its nulls and controls."""
    panels = [panel for metric in metrics(runs) if (panel := probe_panel(runs, metric)).lines]
    if not panels:
        return section("Over training", missing("probes of checkpoints in probe/results.jsonl"))
    text = "The steps of forecasting follow those of pretraining, after the grey line. Dashed: nulls. Dotted: controls."
    chart = element("figure", small_multiples(panels, "probes over training steps"))
    return section("Over training", chart, note(text))


def probe_panel(runs: Runs, metric: str) -> Panel:
    """One metric over the steps of pretraining and, from where they end, those of forecasting."""
    lines: list[Line] = []
    nulls: dict[int, float] = {}
    start = 0
    for stage in TRAINED:
        rows = [row for row in runs.measured(stage, metric) if row["step"] is not None]
        points = {start + row["step"]: row["value"] for row in rows}
        nulls |= {start + row["step"]: row["null"] for row in rows if row.get("null") is not None}
        if points:
            lines.append(Line(stage, points, COLOURS[stage]))
        if stage == TRAINED[0]:
            start = _last_step(runs, stage)
    lines += [Line("null", nulls, GREY, "--")] if nulls else []
    places = [x for line in lines for x in line.points]
    for model, colour in CONTROLS.items():
        row = runs.final(model, metric)
        if row and places:
            lines.append(constant(MODELS[model], row["value"], places, colour, ":"))
    return Panel(metric_label(metric), lines, start or None)


def _last_step(runs: Runs, stage: str) -> int:
    return max((row["step"] for row in runs.probes if row["model"] == stage and row["step"] is not None), default=0)


def training(runs: Runs) -> Markup:
    """Everything logged for training and for validation, and the health of the latents."""
    return section(
        "Training against validation",
        *(_stage(stage, runs.curves[stage]) for stage in TRAINED if stage in runs.manifests),
    )


def _stage(stage: str, curves: Curves) -> Markup:
    names = sorted(name.removeprefix("val/") for name in curves if name.startswith("val/"))
    pairs = sorted((name for name in names if f"train/{name}" in curves), key=lambda name: (name != "loss", name))
    panels = [
        Panel(
            name.replace("_", " "),
            [
                Line("training", curves[f"train/{name}"], "#a9b8c9"),
                Line("validation (eval mode, held-out episodes)", curves[f"val/{name}"], COLOURS[stage]),
            ],
        )
        for name in pairs
    ]
    health = [
        Panel(name.removeprefix("health/").replace("_", " "), [Line("", points, COLOURS[stage])])
        for name, points in curves.items()
        if name.startswith("health/")
    ]
    shown = [element("figure", small_multiples(panels, f"{stage}: training against validation"))] if panels else []
    if health:
        shown.append(element("h4", "Latents of held-out frames, while training"))
        shown.append(element("figure", small_multiples(health, f"{stage}: health")))
    return element("div", element("h3", stage), *(shown or [missing(f"{stage}/metrics.jsonl")]))
