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


def main() -> None:
    """Read summary.json, write both documents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", default="runs/demo", help="a finished demo")
    summary = read_json(Path(parser.parse_args().demo) / "summary.json")
    table = _table(summary)
    replace_section(README, "results", table)
    replace_section(RESULTS, "demo", table)
    print(json.dumps({key: summary[key] for key in ("planning", "probe", "retrieval", "health", "seconds")}))


def _table(summary: dict[str, Any]) -> str:
    image, text = summary["planning"]["image"], summary["planning"]["text"]
    probe, retrieval, health = summary["probe"], summary["retrieval"], summary["health"]
    seconds = summary["seconds"]
    rows = {
        f"image goals in the other room, {image['episodes']} held-out episodes": {
            "figure": _with_interval(image),
            "beside it": f"random {image['random']:.1%}, no-op {image['noop']:.1%}, expert {image['expert']:.1%}",
        },
        f"sentences as goals, {text['episodes']} episodes": {
            "figure": _with_interval(text),
            "beside it": f"random {text['random']:.1%}",
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
    return markdown("what", rows)


def _with_interval(row: dict[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{row['success']:.1%} [{low:.1%}, {high:.1%}]"


if __name__ == "__main__":
    main()
