"""A picture of what is to be."""

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from jepa_wm.contracts import FutureCost
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.goals.latent import Latents
from jepa_wm.observations import Observation
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class Image(Goal):
    """Latents like those of a picture.

    Args:
        seen: what is to be seen, and the state to be felt where the model reads it, of each environment or of all.
        distance: how far latents are from it; the search's own if none is given.
        weight: see `Goal`.
    """

    seen: Observation
    distance: Distance | None = None
    weight: float = 1.0

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        return self.settled(model).cost(model, environments, distance)

    def place(self, model: Model, environments: int) -> Tensor:
        return self.settled(model).place(model, environments)

    def of(self, environments: Tensor) -> Self:
        return replace(self, seen=self.seen.of(environments))

    def settled(self, model: Model) -> Latents:
        return Latents(self._latents(model), self.distance, self.weight)

    def check(self, seen: Observation) -> None:
        wanted, there = (tuple(each.pixels.shape[-3:]) for each in (self.seen, seen))
        if wanted != there:
            raise UserError(
                f"plan: got a goal image {wanted}; expected {there}, as what is seen (channels, height, width): render "
                "or resize it"
            )

    def where(self, model: Model, head: str) -> Tensor | None:
        return self.settled(model).where(model, head)

    def _latents(self, model: Model) -> Tensor:
        if model.frames.state_dim and self.seen.state is None:
            raise UserError(
                f"plan: the goal is an image alone, but this model reads the state, {model.frames.state_dim} "
                "numbers, beside it; give both, as Observation(pixels, state)"
            )
        return model.latents_of(self.seen)
