"""Blocks of actions to vectors, normalised by what was seen in training."""

import torch
from torch import Tensor, nn

from jepa_wm.errors import UserError


class ActionEncoder(nn.Module):
    """Normalise a block of frame-skipped actions and embed it.

    Args:
        action_dim: A of one environment step; the number of actions, where they are discrete and come as one-hot
            vectors.
        frame_skip: environment steps in a block.
        width: width of the embedding.
        hidden: width of the layer between.
        discrete: leave one-hot vectors as they are: the first layer is then an embedding of each.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, action_dim: int, frame_skip: int, width: int, hidden: int, discrete: bool = False) -> None:
        super().__init__()
        self.action_dim, self.frame_skip, self.width = action_dim, frame_skip, width
        self.hidden, self.discrete = hidden, discrete
        self.register_buffer("mean", torch.zeros(action_dim))
        self.register_buffer("std", torch.ones(action_dim))
        self.embed = nn.Sequential(nn.Linear(frame_skip * action_dim, hidden), nn.SiLU(), nn.Linear(hidden, width))

    def set_statistics(self, mean: list[float], std: list[float]) -> None:
        """Take in mean and standard deviation (A,) of the training actions; an action that never varied keeps its unit.

        Raises:
            UserError: if they are not of `action_dim` numbers.
        """
        if len(mean) != self.action_dim or len(std) != self.action_dim:
            raise UserError(
                f"the data's actions have {len(mean)} numbers; expected {self.action_dim}, the dynamics' action_dim"
            )
        if not self.discrete:
            self.mean.copy_(torch.tensor(mean))
            self.std.copy_(torch.tensor([one if one > 0 else 1.0 for one in std]))

    def forward(self, actions: Tensor) -> Tensor:
        """Blocks (..., frame_skip * action_dim), in the environment's units -> (..., width)."""
        blocks = actions.unflatten(-1, (self.frame_skip, self.action_dim))
        return self.embed(((blocks - self.mean) / self.std).flatten(-2))
