"""A picture of what is to be."""

from dataclasses import dataclass, field, replace
from typing import Self

from torch import Tensor

from jepa_wm.contracts import FutureCost
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.goals.readout import away, reader_of
from jepa_wm.observations import Observation, check_count
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
    _settled: tuple[Model, Tensor] | None = field(default=None, init=False, repr=False, compare=False)

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        latents, by = self.place(model, environments), self.distance or distance
        return away(model, latents, by)

    def place(self, model: Model, environments: int) -> Tensor:
        latents = self._latents(model)
        check_count(len(latents), environments, "goal images")
        return latents

    def of(self, environments: Tensor) -> Self:
        made = replace(self, seen=self.seen.of(environments))
        if self._settled is None:
            return made
        model, latents = self._settled
        return made._keep(model, latents if len(latents) == 1 else latents[environments.to(latents.device)])

    def settled(self, model: Model) -> Self:
        return replace(self)._keep(model, self._latents(model))

    def check(self, seen: Observation) -> None:
        wanted, there = (tuple(each.pixels.shape[-3:]) for each in (self.seen, seen))
        if wanted != there:
            raise UserError(
                f"plan: got a goal image {wanted}; expected {there}, as what is seen (channels, height, width): render "
                "or resize it"
            )

    def where(self, model: Model, head: str) -> Tensor | None:
        reader = reader_of(model, head)
        return None if reader is None else reader(self._latents(model))

    def _keep(self, model: Model, latents: Tensor) -> Self:
        object.__setattr__(self, "_settled", (model, latents))
        return self

    def _latents(self, model: Model) -> Tensor:
        if self._settled is not None and self._settled[0] is model:
            return self._settled[1]
        if model.frames.state_dim and self.seen.state is None:
            raise UserError(
                f"plan: the goal is an image alone, but this model reads the state, {model.frames.state_dim} "
                "numbers, beside it; give both, as Observation(pixels, state)"
            )
        return model.latents_of(self.seen)
