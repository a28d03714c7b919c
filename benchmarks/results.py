"""Write the demo's figures into README.md and docs/results.md.

    python -m benchmarks.results --demo runs/demo

Its last line is JSON: the figures of summary.json that the documents show.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.tables import README, RESULTS, markdown, replace_section
from jepa_wm.files import read_json
from jepa_wm.statistics import wilson
from probes.report.inputs import read_curves


def main() -> None:
    """Read summary.json, write both documents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", default="runs/demo", help="a finished demo")
    demo = Path(parser.parse_args().demo)
    summary = read_json(demo / "summary.json")
    table = markdown("what", {**_rows(summary), **_losses(demo)})
    replace_section(README, "results", table)
    replace_section(RESULTS, "demo", table)
    print(json.dumps({key: summary[key] for key in ("planning", "probe", "retrieval", "health", "seconds")}))


def _losses(demo: Path) -> dict[str, dict[str, str]]:
    """Training loss of the last tenth of the steps, and validation loss at the first and the last validation."""
    rows = {}
    for stage in ("pretrain", "forecast"):
        curves = read_curves(demo / stage / "metrics.jsonl")
        train, val = ([value for _, value in sorted(curves[f"{split}/loss"].items())] for split in ("train", "val"))
        tail = train[-max(len(train) // 10, 1) :]
        rows[f"{stage}: training loss at the end"] = {
            "figure": f"{sum(tail) / len(tail):.2f}",
            "beside it": f"validation {val[0]:.2f} at first, {val[-1]:.2f} at the end, in eval mode",
        }
    return rows


def _rows(summary: dict[str, Any]) -> dict[str, dict[str, str]]:
    image, text = summary["planning"]["image"], summary["planning"]["text"]
    probe, retrieval, health = summary["probe"], summary["retrieval"], summary["health"]
    seconds = summary["seconds"]
    return {
        f"image goals in the other room, {image['episodes']} held-out episodes": {
            "figure": _with_interval(image),
            "beside it": _beside(image),
        },
        **_still_met(image),
        f"sentences as goals, {text['episodes']} episodes": {
            "figure": _with_interval(text),
            "beside it": _beside(text),
        },
        "linear probe of position, R²": {
            "figure": f"{probe['position_r2']:.3f}",
            "beside it": f"random-init {probe['random_init_r2']:.3f}, raw pixels {probe['pixels_r2']:.3f}",
        },
        "text → image retrieval, recall@1": {
            "figure": f"{retrieval['recall_at_1']:.1%}",
            "beside it": f"chance {retrieval['chance']:.1%}",
        },
        "RankMe of the latents": {"figure": f"{health['rankme']:.1f}", "beside it": f"width {health['dim']}"},
        "time, minutes": {
            "figure": f"{seconds['total'] / 60:.1f}",
            "beside it": ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items() if name != "total"),
        },
        "peak memory, GiB": {"figure": f"{summary['peak_rss_gib']:.1f}", "beside it": ""},
    }


def _beside(row: dict[str, Any]) -> str:
    """Floors and ceiling; demos of before had no expert for sentences."""
    policies = {"random": "random", "noop": "no-op", "expert": "expert"}
    return ", ".join(f"{shown} {row[name]:.1%}" for name, shown in policies.items() if row[name] is not None)


def _still_met(image: dict[str, Any]) -> dict[str, dict[str, str]]:
    last = image["success_last"]
    if last is None:
        return {}
    low, high = wilson(round(last * image["episodes"]), image["episodes"])
    return {"the same, at the last step": {"figure": f"{last:.1%} [{low:.1%}, {high:.1%}]", "beside it": ""}}


def _with_interval(row: dict[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{row['success']:.1%} [{low:.1%}, {high:.1%}]"


if __name__ == "__main__":
    main()
