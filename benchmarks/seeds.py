"""The demo's main figures over seeds, a row a finished demo.

    jepa-wm demo --out runs/seed1 --preset benchmarks/seed1.yaml      # seed2: nothing was chosen on it
    python -m benchmarks.seeds --demos runs/demo runs/seed1 runs/seed2

Rewrites the section of docs/results.md; the last line is JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm.files import read_json


def main() -> None:
    """Read each summary, write the table and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demos", nargs="+", required=True, help="finished demos")
    rows = {Path(demo).name: _row(read_json(Path(demo) / "summary.json")) for demo in parser.parse_args().demos}
    replace_section(RESULTS, "seeds", f"{markdown('run', rows)}\n\n{machine()}")
    print(json.dumps(rows))


def _row(summary: dict[str, Any]) -> dict[str, str]:
    image, text, probe = summary["planning"]["image"], summary["planning"]["text"], summary["probe"]
    return {
        "image goals (random)": f"{image['success']:.1%} ({image['random']:.1%})",
        "at the last step": f"{image['success_last']:.1%}",
        "sentences (random)": f"{text['success']:.1%} ({text['random']:.1%})",
        "position R² (random-init, pixels)": (
            f"{probe['position_r2']:.3f} ({probe['random_init_r2']:.3f}, {probe['pixels_r2']:.3f})"
        ),
        "recall@1 (chance)": f"{summary['retrieval']['recall_at_1']:.1%} ({summary['retrieval']['chance']:.1%})",
        "RankMe": f"{summary['health']['rankme']:.1f}",
        "minutes": f"{summary['seconds']['total'] / 60:.1f}",
    }


if __name__ == "__main__":
    main()
