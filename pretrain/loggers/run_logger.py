"""What the loggers of a run folder have in common."""

from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only


class RunLogger(Logger):
    """A logger of metrics alone; it writes nothing before the first of them, so that a mistake leaves no file."""

    @property
    def name(self) -> str:
        """Lightning's name of the logger."""
        return type(self).__name__

    @property
    def version(self) -> None:
        """None: a run folder holds one run."""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters are in the run's manifest."""
