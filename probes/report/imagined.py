"""What the model imagined: pictures of it, and how it drifts from what happened."""

from probes.report.charts import BLUE, GREEN, GREY, Line, Panel, small_multiples
from probes.report.html import Markup, element, image, missing, note, section
from probes.report.inputs import Runs

DRIFT = {
    "squared error of latents": {"imagined": "latent_error", "nothing changes": "still_error"},
    "ratio of these two": {"imagined": "relative_error"},
    "error of the position": {
        "imagined": "position_error",
        "nothing changes": "position_error_still",
        "real latents": "position_error_real",
    },
    "uncertainty of the ensemble": {"imagined": "uncertainty"},
}
"""By the title of a panel, what is drawn in it."""

LOOKS = {"imagined": (BLUE, "-"), "nothing changes": (GREY, "--"), "real latents": (GREEN, ":")}
STRIPS = {
    "real": "the real frames",
    "nearest": "for each latent that the model imagined from the first frame and the actions alone, the nearest real "
    "frame of the training episodes, in which what the latents do not hold (see the factors below) is arbitrary",
}
"""What a row of the picture shows; the others are what a head of the model draws."""


def imagination(runs: Runs) -> Markup:
    """Imagined rollouts beside real ones, and how they drift apart."""
    path = runs.folder / "probe" / "imagination.png"
    drawn = "what the model's '{}' draws of the imagined latents, the first of which was seen"
    rows = [STRIPS.get(name, drawn.format(name.removesuffix("_head"))) for name in runs.strips]
    numbered = "; ".join(f"({number}) {row}" for number, row in enumerate(rows, 1))
    text = f"Test episodes, {len(rows)} rows each, from above: {numbered}."
    picture = [element("div", image(path, text), class_="imagined"), note(text)] if path.is_file() else []
    panels = _drift_panels(runs.drift)
    chart = [element("figure", small_multiples(panels, "errors of imagination", "imagined step"))] if panels else []
    absent = [] if picture else [missing("probe/imagination.png")]
    absent += [] if chart else [missing("probe/drift.json")]
    return section("Imagined against real", *picture, *chart, *absent)


def _drift_panels(drift: dict[str, list[float]]) -> list[Panel]:
    panels = []
    for title, names in {**DRIFT, **_head_panels(drift)}.items():
        lines = [
            Line(label, dict(enumerate(drift[name], 1)), *LOOKS[label])
            for label, name in names.items()
            if name in drift
        ]
        panels += [Panel(title, lines)] if lines else []
    return panels


def _head_panels(drift: dict[str, list[float]]) -> dict[str, dict[str, str]]:
    """Panels like that of the position, of what the model's own heads read."""
    own = [name.removesuffix("_head_error") for name in drift if name.endswith("_head_error")]
    return {
        f"error of '{name}', by a head": {
            label: source.replace("position_", f"{name}_head_")
            for label, source in DRIFT["error of the position"].items()
        }
        for name in own
    }
