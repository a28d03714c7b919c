"""Should forecasting train the encoder too? Frozen against fine-tuned, from one pretrained encoder.

    python -m benchmarks.freeze --demo runs/demo --out runs/freeze

Both forecast from the demo's pretrained encoder with its settings and seed, then plan the same goals.
Rewrites the section of docs/results.md; its last line is JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm.cli import run_verb
from jepa_wm.manifest import read_manifest
from jepa_wm.paths import find_config


def main() -> None:
    """Train, plan and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", default="runs/demo", help="a demo that has collected and pretrained")
    parser.add_argument("--out", default="runs/freeze", help="where the runs go")
    parser.add_argument("--episodes", type=int, default=100, help="episodes of each kind of goal")
    args = parser.parse_args()
    demo, out = Path(args.demo), Path(args.out)
    rows = {name: _measure(demo, out / name, name == "frozen", args.episodes) for name in ("frozen", "fine-tuned")}
    replace_section(RESULTS, "freeze", f"{markdown('encoder', rows)}\n\n{machine()}")
    print(json.dumps(rows))


def _measure(demo: Path, out: Path, freeze: bool, episodes: int) -> dict[str, Any]:
    config = yaml.safe_load(find_config("two_rooms/forecast").read_text())
    config["model"]["objectives"]["forecast"]["init_args"]["freeze_encoder"] = freeze
    path = out.with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    run, plan = out / "forecast", out / "plan"
    run_verb(
        "forecast",
        [f"--config={path}", f"--run={run}", f"--data.folder={demo}/collect", f"--source={demo}/pretrain"],
    )
    counts = [f"--episodes={episodes}", f"--text_episodes={episodes}", "--films=0"]
    run_verb("plan", [f"--model={run}", f"--data={demo}/collect", f"--out={plan}", *counts])
    results = [json.loads(line) for line in (plan / "results.jsonl").read_text().splitlines()]
    image, text = ([row for row in results if row["goal"] == kind] for kind in ("image", "text"))
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = {key: value for record in metrics for key, value in record.items()}
    # The last row of a kind is that of the search.
    return {
        "image goals": _rate(image[-1]),
        "at the last step": f"{image[-1]['success_last']:.1%}",
        "sentences": _rate(text[-1]),
        "random, image goals": _rate(next(row for row in image if row["policy"] == "random")),
        "rollout error over standing still": f"{last['val/forecast/rollout_relative']:.3f}",
        "position R²": f"{last['health/position_r2']:.3f}",
        "seconds": f"{read_manifest(run, 'forecast')['seconds']:.0f}",
    }


def _rate(row: dict[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{row['success']:.1%} [{low:.1%}, {high:.1%}] of {row['episodes']}"


if __name__ == "__main__":
    main()
