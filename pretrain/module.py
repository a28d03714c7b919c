"""One training module for every objective."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from jepa_wm import distributed
from jepa_wm.contracts import Batch, Objective
from jepa_wm.data.randomness import generator
from jepa_wm.errors import UserError
from jepa_wm.optim import adamw, set_rates
from jepa_wm.schedules import Constant, Schedule, WarmupCosine

ObjectiveFactory = Callable[[nn.Module], Objective]
"""From the encoder to an objective on it: a class path with the other arguments."""


class Training(L.LightningModule):
    """Train an encoder by the weighted sum of objectives on it.

    Everything random in a step is a function of the step's number, dropout too, and so are learning rate and
    weight decay; so a resumed run repeats the uninterrupted one. With `trainer.accumulate_grad_batches` the
    `step` that a batch carries counts batches, so that each has masks of its own; all else counts optimiser steps.

    Args:
        encoder: the encoder that all objectives share.
        objectives: objectives by name, each a class path and its arguments but for the encoder.
        weights: weight of each objective's loss by name; 1 where none is given.
        lr: learning rate, a schedule over the training; a number is the peak of a warm-up and a cosine to 0.
        weight_decay: decay of matrices, constant or a schedule; see `jepa_wm.optim.adamw` for what does not decay.
        betas: AdamW's betas.
        warmup: share of the steps in which an `lr` that is a number rises; a schedule brings its own.
        layer_decay: factor on the learning rate from block to block of the encoder, downwards.
        eps: AdamW's.
        compile: whether the blocks of encoder, teachers and predictors are compiled, each for itself.
        encoder_lr_scale: factor on the learning rate of all of the encoder.

    Attributes:
        terms: what the objectives said of the last training batch, by "objective/term".
        gradient_norm: of the last optimiser step, before clipping.

    Raises:
        UserError: if a weight names no objective, or, when training starts, if objectives want different views.
    """

    def __init__(
        self,
        encoder: nn.Module,
        objectives: dict[str, ObjectiveFactory],
        weights: dict[str, float] | None = None,
        lr: float | Schedule = 1e-3,
        weight_decay: float | Schedule = 0.05,
        betas: tuple[float, float] = (0.9, 0.95),
        warmup: float = 0.05,
        layer_decay: float = 1.0,
        eps: float = 1e-8,
        compile: bool = False,
        encoder_lr_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.weights = weights or {}
        if unknown := sorted(set(self.weights) - set(objectives)):
            raise UserError(f"model.weights: got {unknown}; expected names among the objectives {sorted(objectives)}")
        self.lr = lr if callable(lr) else WarmupCosine(lr, warmup)
        self.weight_decay = weight_decay if callable(weight_decay) else Constant(weight_decay)
        self.betas, self.eps = betas, eps
        self.layer_decay, self.encoder_lr_scale = layer_decay, encoder_lr_scale
        self.encoder = encoder
        self.objectives = nn.ModuleDict({name: factory(encoder) for name, factory in objectives.items()})
        self.terms: dict[str, Tensor] = {}
        self.gradient_norm: Tensor | None = None
        if compile:
            compile_blocks(self)
        # Loaded parts come in eval mode, and Lightning leaves the mode as it is.
        self.train()

    @property
    def progress(self) -> float:
        """Share of the optimiser steps that are done."""
        return self.global_step / self.trainer.max_steps

    def train(self, mode: bool = True) -> "Training":
        """Set the mode of everything that no objective has frozen."""
        super().train(mode)
        # Objectives share an encoder, and each sets its mode.
        for objective in self.each():
            for part in objective.frozen():
                part.eval()
        return self

    def on_fit_start(self) -> None:
        """Show the data's statistics to the objectives, and the objectives' views to the data."""
        self._seed = self.trainer.strategy.broadcast(torch.initial_seed())
        self._first = int(generator("first step", self._seed).integers(2**40))
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        views = {repr(objective.transform): objective.transform for objective in self.each() if objective.transform}
        if len(views) > 1:
            raise UserError(f"model.objectives: got different transforms, {', '.join(views)}; expected one for all")
        data.views = next(iter(views.values()), None)
        for objective in self.each():
            objective.prepare(self.trainer.datamodule.statistics)  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        accumulated = self.trainer.accumulate_grad_batches
        step = self.global_step * accumulated + batch_idx % accumulated
        torch.manual_seed(int(generator("step", self._seed, step, distributed.rank()).integers(2**63)))
        loss, self.terms = self._loss(batch, self._first + step, "train")
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same loss on held-out clips, in eval mode and with the same masks and slices each time."""
        self._loss(batch, batch_idx, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; `optimizer_step` sets its rates."""
        if self.trainer.gradient_clip_algorithm not in (None, "norm"):
            raise UserError(
                f"trainer.gradient_clip_algorithm: got {self.trainer.gradient_clip_algorithm.value}; expected norm"
            )
        return adamw(
            self,
            self.lr(0.0),
            self.weight_decay(0.0),
            self.betas,
            self.layer_decay,
            self.eps,
            self.encoder_lr_scale,
        )

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm; Lightning's own refuses a fused optimiser under bf16, where nothing is scaled."""
        parameters = [parameter for parameter in self.parameters() if parameter.grad is not None]
        self.gradient_norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if gradient_clip_val:
            nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, self.gradient_norm)
        self.log("optimizer/gradient_norm", self.gradient_norm)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Step, and let teachers follow before anybody looks: a checkpoint holds both or neither."""
        ahead = (self.global_step + 1) / self.trainer.max_steps
        lr, weight_decay = self.lr(ahead), self.weight_decay(ahead)
        set_rates(optimizer, lr, weight_decay)
        self.log_dict({"optimizer/lr": lr, "optimizer/weight_decay": weight_decay})
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        for objective in self.each():
            objective.after_step(self.progress)

    def each(self) -> list[Objective]:
        """The objectives, in their order."""
        return [objective for objective in self.objectives.values() if isinstance(objective, Objective)]

    def exported(self) -> dict[str, nn.Module]:
        """What the objectives export, by name; where two export one name, the later objective's counts."""
        return {name: part for objective in self.each() for name, part in objective.exported().items()}

    def _loss(self, batch: Batch, step: int, split: str) -> tuple[Tensor, dict[str, Tensor]]:
        batch = {**batch, "step": step, "progress": self.progress}
        total = torch.zeros((), device=self.device)
        found: dict[str, Tensor] = {}
        size = len(batch["latents" if "latents" in batch else "pixels"])
        for name, objective in self.objectives.items():
            terms = objective(batch)
            total = total + self.weights.get(name, 1.0) * terms["loss"]
            found |= {f"{name}/{term}": value.detach() for term, value in terms.items()}
        for term, value in found.items():
            self.log(f"{split}/{term}", value, batch_size=size)
        self.log(f"{split}/loss", total.detach(), prog_bar=True, batch_size=size)
        return total, found


def compile_blocks(module: nn.Module) -> None:
    """Compile every block of every stack of `blocks` in `module`, in place: no parameter gets another name."""
    stacks = [stack for part in module.modules() if isinstance(stack := getattr(part, "blocks", None), nn.Module)]
    for stack in stacks:
        for block in stack.children():
            block.compile()
