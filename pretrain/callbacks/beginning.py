"""The configuration, in the run folder."""

import shutil
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.utilities import rank_zero_only

from jepa_wm.files import atomic_path, write_json

WRITTEN = {"config.json", "config.yaml", "checkpoints"}
"""What a run folder holds when no step is done yet."""


class Beginning(L.Callback):
    """Write the configuration into the run folder once training really begins, so that a mistake leaves none.

    Some mistakes show with the first batch: what was written until then is taken away again, lest the next try be
    refused for its other settings.

    Args:
        run: the run folder.
        config: the configuration, as JSON values.
    """

    def __init__(self, run: Path, config: dict[str, Any]) -> None:
        self.run, self.config = run, config

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it as JSON, to be compared with at the next start, and as YAML, to be run again."""
        write_json(self.run / "config.json", self.config)
        with atomic_path(self.run / "config.yaml") as aside:
            aside.write_text(yaml.safe_dump(self.config, sort_keys=False))

    @rank_zero_only
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave no run folder if no step was done and nothing else is in it."""
        if trainer.global_step == 0 and self.run.is_dir() and {path.name for path in self.run.iterdir()} <= WRITTEN:
            shutil.rmtree(self.run)
