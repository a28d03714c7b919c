"""Several goals at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from jepa_wm.contracts import Future, FutureCost
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.observations import Observation
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class Sum(Goal):
    """What several goals cost, each times its weight.

    Args:
        goals: what is wanted.
        weight: see `Goal`.

    Raises:
        UserError: if there are none, or one is none.
    """

    goals: Sequence[Goal]
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.goals:
            raise UserError("Sum: got no goals; expected one or more")
        if others := [type(goal).__name__ for goal in self.goals if not isinstance(goal, Goal)]:
            raise UserError(
                f'Sum: got goals of type {", ".join(others)}; expected Goals, such as Sentence("the door") or '
                "Image(Observation(pixels))"
            )

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        costs = [(goal.weight, goal.cost(model, environments, distance)) for goal in self.goals]

        def total(future: Future) -> Tensor:
            return torch.stack([weight * cost(future) for weight, cost in costs]).sum(dim=0)

        return total

    def of(self, environments: Tensor) -> "Sum":
        return replace(self, goals=[goal.of(environments) for goal in self.goals])

    def seen_from(self, latents: Tensor) -> "Sum":
        return replace(self, goals=[goal.seen_from(latents) for goal in self.goals])

    def after(self, actions: Tensor) -> "Sum":
        return replace(self, goals=[goal.after(actions) for goal in self.goals])

    def settled(self, model: Model) -> "Sum":
        return replace(self, goals=[goal.settled(model) for goal in self.goals])

    def check(self, seen: Observation) -> None:
        for goal in self.goals:
            goal.check(seen)

    def where(self, model: Model, head: str) -> Tensor | None:
        # Of each number the first that says: two places are no place, and what is added to a goal seldom names another.
        said = [met for goal in self.goals if (met := goal.where(model, head)) is not None]
        return reduce(lambda found, met: torch.where(found.isnan(), met, found), said) if said else None
