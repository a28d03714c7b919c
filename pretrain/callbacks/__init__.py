"""What happens beside a training step, one thing a file."""

from pretrain.callbacks.beginning import Beginning
from pretrain.callbacks.calibrate import Calibrate
from pretrain.callbacks.counts import Counts
from pretrain.callbacks.health import Health
from pretrain.callbacks.nan_guard import NanGuard
from pretrain.callbacks.resumable import Resumable
from pretrain.callbacks.snapshots import Snapshots
from pretrain.callbacks.start_from import Final, StartFrom
from pretrain.callbacks.steps_bar import StepsBar

__all__ = [
    "Beginning",
    "Calibrate",
    "Counts",
    "Final",
    "Health",
    "NanGuard",
    "Resumable",
    "Snapshots",
    "StartFrom",
    "StepsBar",
]
