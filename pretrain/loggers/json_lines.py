"""Metrics as JSON lines."""

import json
from io import BufferedRandom
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from pretrain.loggers.run_logger import RunLogger

NAME = "metrics.jsonl"


class JsonLines(RunLogger):
    """Append each record of metrics to `metrics.jsonl` in a folder, one object a line.

    Unlike a CSV it takes new columns at any time, and a killed run leaves at most its last line torn.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / NAME
        self._whole = False

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one record."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            if not self._whole:
                _end_line(file)
                self._whole = True
            file.write((json.dumps({"step": step, **metrics}) + "\n").encode())


def _end_line(file: BufferedRandom) -> None:
    """End the line that a killed run has left torn, lest the next record is lost with it."""
    if file.seek(0, 2):
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")


def read_records(path: Path) -> dict[int, dict[str, float]]:
    """The records of `metrics.jsonl` by step: those of one step together, the last one winning; torn lines left out."""
    steps: dict[int, dict[str, float]] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
            steps.setdefault(int(record.pop("step")), {}).update(record)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return dict(sorted(steps.items()))
