"""Metrics for TensorBoard."""

from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from pretrain.loggers.run_logger import RunLogger


class TensorBoard(RunLogger):
    """Write events to the folder `tensorboard`; what an interrupted run wrote after its last save is hidden.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder) / "tensorboard"
        self._first: int | None = None

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write each metric as a scalar."""
        self._first = step if self._first is None else self._first
        for name, value in metrics.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is not written yet."""
        if self._first is not None:
            self._writer.close()

    @cached_property
    def _writer(self) -> Any:
        from tensorboardX import SummaryWriter

        # Files are named by the second, and a run may be resumed within one.
        return SummaryWriter(str(self.folder), purge_step=self._first, filename_suffix=f".{self._first}")
