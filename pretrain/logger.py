"""Metrics as JSON lines."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only


class JsonLogger(Logger):
    """Append each record of metrics to `metrics.jsonl` in a folder, one object a line.

    Unlike a CSV it takes new columns at any time, and a killed run leaves at most its last line torn.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.jsonl"

    @property
    def name(self) -> str:
        """Lightning's name of the logger."""
        return "json"

    @property
    def version(self) -> None:
        """None: a run folder holds one run."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one record."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters are in the run's manifest."""
