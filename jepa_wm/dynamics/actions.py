"""Blocks of actions to vectors, normalised by what was seen in training."""

from typing import Any

from torch import Tensor, nn

from jepa_wm.encoders.linear import Linear
from jepa_wm.standard import Standard


class ActionEncoder(nn.Module):
    """Normalise a block of frame-skipped actions and embed it.

    Args:
        action_dim: A of one environment step; the number of actions, where they are discrete and come as one-hot
            vectors.
        frame_skip: environment steps in a block.
        width: width of the embedding.
        hidden: width of the layer between; None for a linear embedding.
        discrete: leave one-hot vectors as they are: the first layer is then an embedding of each.
    """

    def __init__(
        self, action_dim: int, frame_skip: int, width: int, hidden: int | None, discrete: bool = False
    ) -> None:
        super().__init__()
        self.action_dim, self.frame_skip, self.width = action_dim, frame_skip, width
        self.hidden, self.discrete = hidden, discrete
        self.standard = Standard(action_dim, "action")
        block = frame_skip * action_dim
        self.embed: nn.Module = Linear(block, width)
        if hidden is not None:
            self.embed = nn.Sequential(Linear(block, hidden), nn.SiLU(), Linear(hidden, width))

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in `action_mean` and `action_std`; see `Standard`."""
        if not self.discrete:
            self.standard.prepare(statistics)

    def forward(self, actions: Tensor) -> Tensor:
        """Blocks (..., frame_skip * action_dim), in the environment's units -> (..., width)."""
        return self.embed(self.standard(actions.unflatten(-1, (self.frame_skip, self.action_dim))).flatten(-2))
