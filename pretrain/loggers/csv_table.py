"""Metrics as a table, for spreadsheets."""

import csv
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from jepa_wm.files import atomic_path
from pretrain.loggers.json_lines import NAME, read_records
from pretrain.loggers.run_logger import RunLogger


class CsvTable(RunLogger):
    """Write `metrics.csv` anew out of `metrics.jsonl`, at each validation and at the end.

    One row a step, though a resumed run repeats some; a column for every metric there has ever been, sorted.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write the table if these are a validation's; JSON lines has them already."""
        if any(name.startswith("val/") for name in metrics):
            self._write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write it a last time."""
        self._write()

    def _write(self) -> None:
        steps = read_records(self.folder / NAME)
        if not steps:
            return
        columns = ["step", *sorted(set().union(*steps.values()))]
        with atomic_path(self.folder / "metrics.csv") as aside, open(aside, "w", newline="") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows({"step": step, **record} for step, record in steps.items())
