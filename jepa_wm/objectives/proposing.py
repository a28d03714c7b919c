"""Proposing: which actions lead to this goal, and how many?"""

from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Objective
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders.encoded import check_encoded, latents_of
from jepa_wm.errors import UserError


class Proposing(Objective):
    """Train a `Proposal` beside a world model that stays as it is, on all pairs of frames of its clips.

    Args:
        encoder: the world model's.
        model: all parts of the world model, as `jepa_wm.model_folder.load_parts` gives them.
        proposal: what is trained.
        blocks: weight of the cross-entropy to the number of blocks between two frames.

    Raises:
        UserError: if the model is without dynamics or frames, or the proposal or the data do not fit it.

    Source: GC-IDM (arXiv 2605.08732): hindsight pairs of one episode, mean squared error. There latents come from
    LeWM and a pair is up to 25 steps apart; here clips are as long as `data.frames` says, and all of their pairs
    count alike, so that near ones are seen more often than far ones.
    """

    def __init__(self, encoder: nn.Module, model: nn.ModuleDict, proposal: Proposal, blocks: float = 1.0) -> None:
        super().__init__()
        if missing := {"dynamics", "frames"} - set(model):
            raise UserError(f"Proposing.model: it lacks {sorted(missing)}; it has {sorted(model)}")
        expected = {name: getattr(model["dynamics"], name) for name in ("latent_dim", "action_dim", "frame_skip")}
        if wrong := {name: getattr(proposal, name) for name in expected if getattr(proposal, name) != expected[name]}:
            raise UserError(f"Proposing.proposal: got {wrong}; expected {expected}, as the model's dynamics have them")
        self.encoder, self.proposal, self.blocks = encoder, proposal, blocks
        self.parts = nn.ModuleDict({name: part for name, part in model.items() if name not in ("encoder", "proposal")})
        for part in self.frozen():
            part.requires_grad_(False)

    def frozen(self) -> list[nn.Module]:
        """The world model."""
        return [self.encoder, self.parts]

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Give the proposal the spread and the bounds of the actions."""
        check_encoded(statistics.get("encoded_by", []), self.encoder, self.parts["frames"], "Proposing")  # type: ignore[arg-type]
        self.proposal.prepare(statistics)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss and its parts; see `Proposal.errors`."""
        with torch.no_grad():
            latents = latents_of(batch, self.encoder, self.parts["frames"])  # type: ignore[arg-type]
        found = self.proposal.errors(latents, batch["actions"])
        return {"loss": found["actions"] + self.blocks * found["blocks"], **found}

    def exported(self) -> dict[str, nn.Module]:
        """The whole world model, and the proposal."""
        return {**self.parts, "encoder": self.encoder, "proposal": self.proposal}
