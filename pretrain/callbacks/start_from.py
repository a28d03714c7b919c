"""One run's end is another's beginning: the cool-down at another resolution, under another schedule."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from jepa_wm.errors import UserError
from pretrain.callbacks.resumable import save_whole

NAME = "final.ckpt"


class Final(L.Callback):
    """Keep the whole state of a training that came to its end in `final.ckpt`.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / NAME

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save it."""
        if trainer.global_step >= trainer.max_steps:
            save_whole(trainer, self.path)


class StartFrom(L.Callback):
    """Begin, at step 0, with the weights and the optimiser's moments of a run that has ended.

    Teachers and predictors are among the weights. Schedules, data and statistics are the new run's own.

    Args:
        run: the run folder that was trained before.

    Raises:
        UserError: if it holds no such state; or, when training starts, if that is of another model.

    Source: V-JEPA 2 (arXiv 2506.09985), whose cool-down continues at a higher resolution.
    """

    def __init__(self, run: str) -> None:
        self.path = Path(run) / NAME
        if not self.path.is_file():
            raise UserError(f"start_from: {self.path} does not exist; expected the folder of a run that has ended")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Load them, before the objectives see the new data's statistics."""
        saved = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
        own = pl_module.state_dict()
        if differing := _differing(saved["state_dict"], own):
            raise UserError(
                f"start_from: {self.path} is of another model: {len(differing)} of its weights and of those that are "
                f"expected have no counterpart of their size, {', '.join(differing[:4])} …; "
                "use the same encoder and objectives"
            )
        pl_module.load_state_dict(saved["state_dict"])
        load_moments(trainer.optimizers[0], saved["optimizer_states"][0])


def load_moments(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Give each parameter its moments out of another optimiser's state, by name; rates and decays stay."""
    by_name = {name: saved["state"].get(number) for number, name in _numbered(saved)}
    state = optimizer.state_dict()
    state["state"] = {number: moments for number, name in _numbered(state) if (moments := by_name.get(name))}
    optimizer.load_state_dict(state)


def _numbered(state: dict[str, Any]) -> list[tuple[int, str]]:
    groups = state["param_groups"]
    return [pair for group in groups for pair in zip(group["params"], group["param_names"], strict=True)]


def _differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    shapes, others = ({name: value.shape for name, value in each.items()} for each in (one, other))
    return sorted(name for name in shapes | others if shapes.get(name) != others.get(name))
