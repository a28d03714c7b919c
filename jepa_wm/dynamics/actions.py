"""Blocks of actions to vectors, normalised by what was seen in training."""

import torch
from torch import Tensor, nn


class ActionEncoder(nn.Module):
    """Normalise a block of frame-skipped actions and embed it.

    Args:
        action_dim: A of one environment step.
        frame_skip: environment steps in a block.
        width: width of the embedding.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, action_dim: int, frame_skip: int, width: int) -> None:
        super().__init__()
        self.action_dim, self.frame_skip, self.width = action_dim, frame_skip, width
        self.register_buffer("mean", torch.zeros(action_dim))
        self.register_buffer("std", torch.ones(action_dim))
        self.embed = nn.Sequential(nn.Linear(frame_skip * action_dim, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, actions: Tensor) -> Tensor:
        """Blocks (..., frame_skip * action_dim), in the environment's units -> (..., width)."""
        blocks = actions.unflatten(-1, (self.frame_skip, self.action_dim))
        return self.embed(((blocks - self.mean) / self.std).flatten(-2))
