"""What came out: headline figures, probes."""

from collections.abc import Sequence
from typing import Any

from probes.report.html import Markup, element, missing, note, section, table
from probes.report.inputs import Row, Runs
from probes.report.summary import still_met
from probes.report.text import count, duration, gib, interval, number, percent

METRICS = {
    "position_r2": "position, R²",
    "region_knn": "region, kNN accuracy",
    "recall_at_1": "text→image recall@1",
    "mutual_knn": "mutual kNN, vision and text",
    "cka": "CKA, vision and text",
    "rankme": "RankMe",
    "spread_min": "spread, least dimension",
    "spread_median": "spread, median dimension",
}
MODELS = {"pretrain": "pretrained", "random_init": "random init", "pixels": "raw pixels"}


def metric_label(metric: str) -> str:
    """A metric's name on the page."""
    factor = metric.removeprefix("factor_").replace("_", " ")
    return METRICS.get(metric, metric if metric == factor else f"{factor}, R²")


def metrics(runs: Runs) -> list[str]:
    """Metrics that were measured: position, the factors, then the others."""
    found = {row["metric"] for row in runs.probes}
    order = list(METRICS)
    return sorted(found, key=lambda name: (order.index(name) if name in order else 0.5, name))


def headline(summary: dict[str, Any]) -> Markup:
    """A row of the main figures, each with its interval and its controls; not every world has goals in words."""
    planning, probe, retrieval = summary["planning"], summary["probe"], summary["retrieval"]
    health, seconds, machine = summary["health"], summary["seconds"], summary["machine"]
    position = [f"random init {number(probe['random_init_r2'])}", f"raw pixels {number(probe['pixels_r2'])}"]
    recall = [interval(retrieval["ci95"], percent), f"chance {percent(retrieval['chance'])}", "sentence to image"]
    spread = [f"least spread {number(health['spread_min'])}", f"median {number(health['spread_median'])}"]
    in_words = planning["text"]["success"] is not None
    retrieved = retrieval["recall_at_1"] is not None
    return element(
        "div",
        _planned("image goals", planning["image"]),
        *([_planned("text goals", planning["text"])] if in_words else []),
        _tile("position, R²", number(probe["position_r2"]), interval(probe["ci95"]), *position),
        *([_tile("recall@1", percent(retrieval["recall_at_1"]), *recall)] if retrieved else []),
        _tile("RankMe", number(health["rankme"]), f"of {count(health['dim'])} dimensions", *spread),
        _tile(
            "these stages" if summary["absent"] else "all stages",
            duration(seconds["total"]),
            f"peak {gib(summary['peak_rss_gib'])}",
            f"{machine['cores']} CPU cores",
        ),
        class_="tiles",
    )


def _planned(title: str, row: Row) -> Markup:
    controls = [
        f"{policy} {percent(row[policy])}" for policy in ("random", "expert", "replay") if row[policy] is not None
    ]
    return _tile(title, percent(row["success"]), interval(row["ci95"], percent), *still_met(row), *controls)


def _tile(title: str, value: str, *beside: str) -> Markup:
    lines = [element("span", line) for line in beside]
    return element("div", element("span", title, class_="title"), element("strong", value), *lines, class_="tile")


def probes(runs: Runs) -> Markup:
    """What the last encoders know, beside the controls."""
    names = metrics(runs)
    if not names:
        return section("What the latents know", missing("probe/results.jsonl"))
    header = ("measured on held-out episodes", "forecast", "95 % interval", "null", *MODELS.values(), "n")
    text = (
        "Last checkpoint of each stage. Null: the same probe on shuffled episodes for R², the majority class for kNN, "
        "chance for recall and mutual kNN, zero for CKA. The spread is a dimension's standard deviation."
    )
    return section("What the latents know", table(header, [_probe_row(runs, name) for name in names]), note(text))


def _probe_row(runs: Runs, metric: str) -> Sequence[object]:
    row = runs.final("forecast", metric) or {}
    others = [(runs.final(model, metric) or {}).get("value") for model in MODELS]
    return (
        metric_label(metric),
        element("strong", number(row.get("value"))),
        interval(row.get("interval")),
        number(row.get("null")),
        *map(number, others),
        count(row.get("n")),
    )
