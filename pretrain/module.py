"""One training module for every objective."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Objective
from jepa_wm.errors import UserError
from jepa_wm.optim import adamw
from jepa_wm.schedules import WarmupCosine

ObjectiveFactory = Callable[[nn.Module], Objective]
"""From the encoder to an objective on it: a class path with the other arguments."""


class Training(L.LightningModule):
    """Train an encoder by the weighted sum of objectives on it.

    Everything random in a step is a function of the step's number, so a resumed run repeats the
    uninterrupted one.

    Args:
        encoder: the encoder that all objectives share.
        objectives: objectives by name, each a class path and its arguments but for the encoder.
        weights: weight of each objective's loss by name; 1 where none is given.
        lr: peak learning rate.
        weight_decay: decay of matrices; vectors do not decay.
        betas: AdamW's betas.
        warmup: share of the steps in which the rate rises; it falls to 0 along a cosine after.

    Raises:
        UserError: if a weight names no objective.
    """

    def __init__(
        self,
        encoder: nn.Module,
        objectives: dict[str, ObjectiveFactory],
        weights: dict[str, float] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        betas: tuple[float, float] = (0.9, 0.95),
        warmup: float = 0.05,
    ) -> None:
        super().__init__()
        self.weights = weights or {}
        if unknown := sorted(set(self.weights) - set(objectives)):
            raise UserError(f"model.weights: got {unknown}; expected names among the objectives {sorted(objectives)}")
        self.lr, self.weight_decay, self.betas, self.warmup = lr, weight_decay, betas, warmup
        self.encoder = encoder
        self.objectives = nn.ModuleDict({name: factory(encoder) for name, factory in objectives.items()})

    @property
    def progress(self) -> float:
        """Share of the steps that are done."""
        return self.global_step / self.trainer.max_steps

    def on_fit_start(self) -> None:
        """Show the data's statistics to the objectives, and the objectives' views to the data."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        data.views = [objective.transform for objective in self._each() if objective.transform is not None]
        for objective in self._each():
            objective.prepare(self.trainer.datamodule.statistics)  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        return self._loss(batch, self.global_step, "train")

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm; Lightning's own refuses a fused optimiser under bf16, where nothing is scaled."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same loss on held-out clips, in eval mode and with the same masks and slices each time."""
        self._loss(batch, batch_idx, "val")

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let teachers follow before anybody looks: a checkpoint holds both or neither."""
        super().optimizer_step(*args, **kwargs)
        for objective in self._each():
            objective.after_step(self.progress)

    def exported(self) -> dict[str, nn.Module]:
        """What the objectives export, by name; where two export one name, the later objective's counts."""
        return {name: part for objective in self._each() for name, part in objective.exported().items()}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW under a warmed-up cosine over `trainer.max_steps`."""
        optimizer = adamw(self, self.lr, self.weight_decay, self.betas)
        steps = self.trainer.max_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: WarmupCosine(1.0, self.warmup)((step + 1) / steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _each(self) -> list[Objective]:
        return [objective for objective in self.objectives.values() if isinstance(objective, Objective)]

    def _loss(self, batch: Batch, step: int, split: str) -> Tensor:
        batch = {**batch, "step": step, "progress": self.progress}
        total = torch.zeros((), device=self.device)
        size = len(batch["pixels"])
        for name, objective in self.objectives.items():
            terms = objective(batch)
            total = total + self.weights.get(name, 1.0) * terms["loss"]
            for term, value in terms.items():
                self.log(f"{split}/{name}/{term}", value.detach(), batch_size=size)
        self.log(f"{split}/loss", total.detach(), prog_bar=True, batch_size=size)
        return total
