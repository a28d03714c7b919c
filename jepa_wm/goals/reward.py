"""What is to be gained."""

from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from jepa_wm.contracts import Future, FutureCost
from jepa_wm.dynamics.heads import RewardHead, ValueHead
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.goals.readout import head_of
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class Reward(Goal):
    """Minus the rewards that a head reads of what is imagined, discounted and added up.

    Args:
        head: name of the reward head.
        value: name of a value head, whose reading of the last frame stands for what follows; if none, nothing follows.
        discount: from one imagined frame to the next; None for the value head's own, or .99 without one.
        weight: see `Goal`.

    Raises:
        UserError: if the discount is no number of 0 to 1.

    Source: as TD-MPC2 (arXiv 2310.16828) scores a plan, with the value of a state in place of that of an action.
    """

    head: str = "reward"
    value: str | None = None
    discount: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.discount is not None and not (isinstance(self.discount, Real) and 0 <= self.discount <= 1):
            raise UserError(
                f"Reward: got discount {self.discount!r}; expected 0 to 1, or none for the value head's own"
            )

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        reward = head_of(model, self.head, RewardHead, "Reward")
        value = None if self.value is None else head_of(model, self.value, ValueHead, "Reward")
        discount = self.discount
        if discount is None:
            discount = 0.99 if value is None else value.discount

        def lost(future: Future) -> Tensor:
            rewards = reward(future.latents)
            steps = torch.arange(rewards.shape[-1], device=rewards.device)
            gained = (rewards * discount**steps).sum(dim=-1)
            if value is not None:
                gained = gained + discount ** len(steps) * value(future.latents[:, :, -1])
            return -gained

        return lost
