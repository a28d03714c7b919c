"""What is to be, and how long it takes to get there."""

from dataclasses import dataclass

from jepa_wm.contracts import FutureCost
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Model
from jepa_wm.goals.image import Image
from jepa_wm.goals.latent import Latents
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class BlocksTo(Latents):
    """Few blocks of actions to latents, as the model's `Proposal` learned to tell them: a learned distance.

    Args:
        latents: as `Latents`'.
        distance: how steps add up; the search's own if none is given. Its metric plays no part.
        weight: see `Goal`.
    """

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        proposal, by = model.proposal, self.distance or distance
        if proposal is None:
            raise UserError(
                "plan: the distance is to be the blocks to go, but this model has no part `proposal` that tells them; "
                "train one, as configs/two_rooms/amortise.yaml does"
            )
        goals = self.place(model, environments)[:, None, None]
        return lambda future: by.over_time(proposal.blocks(future.latents, goals))


@dataclass(frozen=True)
class StepsToGo(Image):
    """Few blocks of actions to a picture: see `BlocksTo`.

    Args:
        seen: as `Image`'s.
        distance: how steps add up; the search's own if none is given. Its metric plays no part.
        weight: see `Goal`.
    """

    def settled(self, model: Model) -> BlocksTo:
        return BlocksTo(self._latents(model), self.distance, self.weight)
