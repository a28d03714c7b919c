"""Actions are to change little."""

from dataclasses import dataclass, replace

from torch import Tensor

from jepa_wm.contracts import Future, FutureCost
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class Smoothness(Goal):
    """The mean square of how far each action is from the one before, in halves of the width of their bounds.

    An action that is held counts once.

    Args:
        weight: see `Goal`.
        last: actions (E, A) that were done before the plan, NaN where there was none; a controller says them.

    Raises:
        UserError: when it is planned for, if they are of other environments or another width.
    """

    weight: float = 1.0
    last: Tensor | None = None

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        half, last = model.bounds.half_width, self.last
        if last is not None and last.shape != (environments, len(half)):
            raise UserError(f"Smoothness.last: got actions {tuple(last.shape)}; expected {(environments, len(half))}")

        def rough(future: Future) -> Tensor:
            steps = future.actions.unflatten(-1, (-1, len(half))).flatten(2, 3)
            changes = (steps.diff(dim=2) / half).square().mean(dim=-1)
            total, count = changes.sum(dim=-1), steps.new_full((environments, 1), changes.shape[2])
            if last is not None:
                done = last.to(steps)[:, None]
                known = done.isfinite().all(dim=-1)
                first = ((steps[:, :, 0] - done.nan_to_num()) / half).square().mean(dim=-1)
                total, count = total + first * known, count + known
            return total / count.clamp(min=1)

        return rough

    def of(self, environments: Tensor) -> "Smoothness":
        return self if self.last is None else replace(self, last=self.last[environments])

    def after(self, actions: Tensor) -> "Smoothness":
        return replace(self, last=actions)
