"""Numbers that are to be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jepa_wm.contracts import FutureCost
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.goals.readout import Readout
from jepa_wm.observations import check_count
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class State(Goal):
    """A state, or part of one, as a state head reads it: the mean square of what is missing, in standard deviations.

    Args:
        target: numbers in the environment's units, (P,) for all environments or (E, P), one row for each.
        columns: which of the head's numbers they are; None for all.
        head: name of the head.
        distance: how steps add up; the search's own if none is given.
        weight: see `Goal`.

    Raises:
        UserError: if the target is no table of finite numbers.
    """

    target: Sequence[float] | Sequence[Sequence[float]] | Tensor
    columns: Sequence[int] | None = None
    head: str = "state"
    distance: Distance | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._rows().ndim != 2 or not self._rows().numel() or not torch.isfinite(self._rows()).all():
            raise UserError(
                f"State: got a target {tuple(torch.as_tensor(self.target).shape)}; expected finite numbers (P,), or "
                "(E, P) with a row for each environment"
            )

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        read, rows = Readout(model, self.head, self.columns, "State"), self._rows()
        if rows.shape[1] != read.width or len(rows) not in (1, environments):
            raise UserError(
                f"State: got a target of {len(rows)} rows of {rows.shape[1]} numbers; expected 1 row or "
                f"{environments}, one an environment, of {read.width} for columns {read.columns} of '{self.head}'"
            )
        target, by = read.standard(rows)[:, None, None], self.distance or distance
        return lambda future: by.over_time((read(future.latents) - target).square().mean(dim=-1))

    def of(self, environments: Tensor) -> "State":
        rows = self._rows()
        if len(rows) == 1:
            return self
        check_count(len(rows), len(environments), "goal states")
        return replace(self, target=rows[environments.to(rows.device)])

    def where(self, model: Model, head: str) -> Tensor | None:
        return Readout(model, head, self.columns, "State").whole(self._rows()) if head == self.head else None

    def _rows(self) -> Tensor:
        """The target as float32 (1, P) or (E, P)."""
        try:
            target = torch.as_tensor(self.target, dtype=torch.float32)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"State: the target is no table of numbers ({error}); expected rows of one length"
            ) from None
        return target[None] if target.ndim == 1 else target
