"""Actions are to change little."""

from dataclasses import dataclass

from torch import Tensor

from jepa_wm.contracts import Future, FutureCost
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class Smoothness(Goal):
    """The mean square of how far each action is from the one before, in halves of the width of their bounds.

    An action that is held counts once.

    Args:
        weight: see `Goal`.
    """

    weight: float = 1.0

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        half = model.bounds.half_width

        def rough(future: Future) -> Tensor:
            steps = future.actions.unflatten(-1, (-1, len(half))).flatten(2, 3)
            changes = steps.diff(dim=2) / half
            return changes.square().mean(dim=-1).sum(dim=-1) / max(changes.shape[2], 1)

        return rough
