"""A goal far away: what is on the way to it is planned for until it is near."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from jepa_wm.contracts import Future, FutureCost
from jepa_wm.control.landmarks import Landmarks, Ways
from jepa_wm.errors import UserError
from jepa_wm.goals import Goal, GoalLike, Latents, as_goal
from jepa_wm.goals.goal import Model
from jepa_wm.observations import Observation
from jepa_wm.planning.costs import Distance
from jepa_wm.world_model import WorldModel

LAST = Distance(final=1.0)


@dataclass(frozen=True)
class Route(Goal):
    """A goal that is planned for by sub-goals: at each plan a landmark some blocks ahead on the way; the goal itself
    where it is no farther than that, or no way leads to it.

    Args:
        goal: what is to be reached.
        ways: to a landmark where it is.
        ahead: blocks to the sub-goal.
        weight: see `Goal`.

    Raises:
        UserError: if `ahead` is not more than 0; when it is planned for, if the ways are not one an environment.
    """

    goal: Goal
    ways: Ways
    ahead: float = 4.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ahead > 0:
            raise UserError(f"route: got ahead {self.ahead}; expected more than 0 blocks")

    @classmethod
    def to(cls, goal: GoalLike, model: WorldModel, landmarks: Landmarks, environments: int, ahead: float = 4.0) -> Self:
        """The route to a goal, which ends at the landmark where the goal costs least.

        Args:
            goal: an image, a sentence, or any other goal.
            model: the world model whose latents the landmarks are.
            landmarks: what lies on the way.
            environments: E.
            ahead: blocks to the sub-goal.

        Raises:
            UserError: if the goal does not fit the model or the environments.
        """
        wanted = as_goal(goal)
        return cls(wanted, landmarks.ways_to(_ends(wanted, model, landmarks, environments)), ahead, wanted.weight)

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        return self.goal.cost(model, environments, distance)

    def of(self, environments: Tensor) -> "Route":
        self._require(len(environments))
        return replace(self, goal=self.goal.of(environments), ways=self.ways.of(environments))

    def after(self, actions: Tensor) -> "Route":
        return replace(self, goal=self.goal.after(actions))

    def settled(self, model: Model) -> "Route":
        return replace(self, goal=self.goal.settled(model))

    def check(self, seen: Observation) -> None:
        self.goal.check(seen)

    def seen_from(self, latents: Tensor) -> Goal:
        self._require(len(latents))
        places, left = self.ways.ahead(latents, self.ahead)
        return _Either(
            (left > self.ahead) & left.isfinite(), Latents(places), self.goal.seen_from(latents), self.weight
        )

    def _require(self, environments: int) -> None:
        if len(self.ways.ends) != environments:
            raise UserError(
                f"route: got ways for {len(self.ways.ends)} environments; expected {environments}, as are planned for: "
                "give Route.to their number"
            )


@dataclass(frozen=True)
class _Either(Goal):
    """In each environment one of two goals: `far` where `is_far` (E,)."""

    is_far: Tensor
    far: Goal
    near: Goal
    weight: float = 1.0

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        far, near = (goal.cost(model, environments, distance) for goal in (self.far, self.near))
        return lambda future: torch.where(self.is_far[:, None], far(future), near(future))

    def where(self, model: Model, head: str) -> Tensor | None:
        return self.near.where(model, head)

    def place(self, model: Model, environments: int) -> Tensor:
        far, near = (goal.place(model, environments) for goal in (self.far, self.near))
        return torch.where(self.is_far[:, None, None], far.to(near), near)


@torch.no_grad()
def _ends(goal: Goal, model: WorldModel, landmarks: Landmarks, environments: int) -> Tensor:
    """The landmarks (E,) where a goal costs least, as if each were all that is to be seen."""
    goal.cost(model, environments, LAST)
    # Each as a candidate of one environment's future: all of them at once would not fit into memory.
    places = landmarks.latents[None, :, None].to(model.device)
    # Nothing is done to be there, and what was seen is not in doubt.
    future = Future(
        places,
        places.new_zeros(*places.shape[:3], model.dynamics.action_dim),
        places.new_zeros(places.shape[:3]),
    )
    each = torch.eye(environments, dtype=torch.bool)
    return torch.stack([goal.of(only).cost(model, 1, LAST)(future)[0].argmin().cpu() for only in each])
