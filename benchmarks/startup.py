"""How long the command and the import take: `python -m benchmarks.startup`.

Whole processes, medians of five. Rewrites the section of docs/benchmarks.md; the last line is JSON.
"""

import json
import statistics
import subprocess
import sys
import time

from benchmarks.tables import BENCHMARKS, machine, markdown, replace_section

REPEATS = 5


def seconds(*code: str) -> float:
    """Median time of a Python process with these arguments."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *code], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure, write the table and print it as JSON."""
    help_, torch, both = (
        seconds("-m", "jepa_wm", "--help"),
        seconds("-c", "import torch"),
        seconds("-c", "import torch, jepa_wm"),
    )
    rows = {
        "`jepa-wm --help`": {"seconds": f"{help_:.2f}", "asked": "under 1"},
        "`import jepa_wm` over `import torch`": {"seconds": f"{max(both - torch, 0):.2f}", "asked": "at most 0.3"},
    }
    replace_section(BENCHMARKS, "startup", f"{markdown('what', rows)}\n\n{machine()}")
    print(json.dumps({"help": help_, "import_torch": torch, "import_both": both}))


if __name__ == "__main__":
    main()
