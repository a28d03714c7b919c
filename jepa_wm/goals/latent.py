"""Latents that are to be."""

from dataclasses import dataclass, replace

from torch import Tensor

from jepa_wm.contracts import FutureCost
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.goals.readout import away, reader_of
from jepa_wm.observations import check_count
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class Latents(Goal):
    """Latents like those given: a place that was imagined or remembered, of which there is no picture.

    Args:
        latents: (E, N, D), or (1, N, D) for all environments.
        distance: how far latents are from them; the search's own if none is given.
        weight: see `Goal`.

    Raises:
        UserError: if they are no tensor of this shape.
    """

    latents: Tensor
    distance: Distance | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.latents, Tensor) or self.latents.ndim != 3:
            got = tuple(self.latents.shape) if isinstance(self.latents, Tensor) else type(self.latents).__name__
            raise UserError(f"Latents: got {got}; expected a tensor (E, N, D), or (1, N, D) for all environments")

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        latents, by = self.place(model, environments), self.distance or distance
        return away(model, latents, by)

    def place(self, model: Model, environments: int) -> Tensor:
        latents = self._placed(model)
        check_count(len(latents), environments, "goals")
        return latents

    def of(self, environments: Tensor) -> "Latents":
        if len(self.latents) == 1:
            return self
        check_count(len(self.latents), len(environments), "goals")
        return replace(self, latents=self.latents[environments.to(self.latents.device)])

    def seen_from(self, latents: Tensor) -> "Latents":
        if self.latents.shape[1:] != latents.shape[1:]:
            tokens, width = latents.shape[1:]
            raise UserError(
                f"plan: got goal latents {tuple(self.latents.shape)}; expected (E, {tokens}, {width}), as many tokens "
                "of the same width as this model makes of what is seen"
            )
        return self

    def where(self, model: Model, head: str) -> Tensor | None:
        reader = reader_of(model, head)
        return None if reader is None else reader(self._placed(model))

    def _placed(self, model: Model) -> Tensor:
        return self.latents.to(model.bounds.low.device)
