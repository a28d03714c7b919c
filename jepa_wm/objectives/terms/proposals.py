"""A proposal that learns beside the model."""

from typing import Any

from torch import Tensor, nn

from jepa_wm.contracts import Batch, LatentTerm
from jepa_wm.dynamics.proposal import Proposal


class Proposals(LatentTerm):
    """Train a `Proposal` on all pairs of frames of a clip; its gradient goes to nothing else.

    As `jepa_wm.objectives.Proposing`, in the run that trains the dynamics: a pair is as far apart as clips are long.

    Args:
        proposal: what is trained, and saved with the model.
        blocks: weight of the cross-entropy to the number of blocks between two frames.
        weight: factor in the loss.
    """

    def __init__(self, proposal: Proposal, blocks: float = 1.0, weight: float = 1.0) -> None:
        super().__init__()
        self.proposal, self.blocks, self.weight = proposal, blocks, weight

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> Tensor:
        """See `LatentTerm`."""
        found = self.proposal.errors(latents.detach(), batch["actions"])
        return found["actions"] + self.blocks * found["blocks"]

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Give the proposal the spread and the bounds of the actions."""
        self.proposal.prepare(statistics)

    def exported(self) -> dict[str, nn.Module]:
        """The proposal."""
        return {"proposal": self.proposal}
