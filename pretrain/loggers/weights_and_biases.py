"""Metrics for Weights & Biases, for those who ask for it."""

import uuid
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from jepa_wm.errors import UserError
from jepa_wm.files import read_json, write_json
from pretrain.loggers.run_logger import RunLogger


class WeightsAndBiases(RunLogger):
    """Send metrics to a project; a run that is resumed goes on there, too.

    Args:
        folder: the run folder; `wandb.json` in it keeps the run's name over there.
        project: the project.

    Raises:
        UserError: if wandb is not installed.
    """

    def __init__(self, folder: str | Path, project: str) -> None:
        super().__init__()
        if find_spec("wandb") is None:
            raise UserError("--wandb needs the package wandb, which is not installed; pip install 'jepa_wm[wandb]'")
        self.folder, self.project = Path(folder), project
        self._begun = False

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send one record."""
        self._begun = True
        self._logger.log_metrics(metrics, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what is not sent yet, and say how the run ended."""
        if self._begun:
            self._logger.finalize(status)
            self._logger.experiment.finish(exit_code=int(status != "success"))

    @cached_property
    def _logger(self) -> Any:
        from lightning.pytorch.loggers import WandbLogger

        record = self.folder / "wandb.json"
        if not record.is_file():
            write_json(record, {"id": uuid.uuid4().hex[:12]})
        return WandbLogger(
            project=self.project,
            name=self.folder.name,
            id=read_json(record)["id"],
            save_dir=self.folder,
            resume="allow",
        )
