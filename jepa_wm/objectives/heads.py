"""Heads that objectives put on an encoder, to be left behind when it is used."""

import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.encoders.batch_norm import BatchNorm
from jepa_wm.encoders.blocks import initialise


class Projector(nn.Sequential):
    """Two hidden layers with BatchNorm and ReLU, and a linear one.

    Args:
        dim: width D of the latents.
        hidden: width of the hidden layers.
        width: of what comes out.

    Source: LeJEPA (arXiv 2511.08544), official code.
    """

    def __init__(self, dim: int, hidden: int = 2048, width: int = 128) -> None:
        super().__init__(
            *(nn.Linear(dim, hidden), BatchNorm(hidden), nn.ReLU()),
            *(nn.Linear(hidden, hidden), BatchNorm(hidden), nn.ReLU()),
            nn.Linear(hidden, width),
        )


class PrototypeHead(nn.Module):
    """Three layers with GELU down to a bottleneck, made a unit vector, and its products with the prototypes.

    Args:
        dim: width D of the latents.
        prototypes: K.
        hidden: width of the hidden layers.
        bottleneck: width of the unit vectors.

    Source: DINO (arXiv 2104.14294); as in DINOv3's official code, whose last layer has no weight norm.
    """

    def __init__(self, dim: int, prototypes: int = 65536, hidden: int = 2048, bottleneck: int = 256) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            *(nn.Linear(dim, hidden), nn.GELU()),
            *(nn.Linear(hidden, hidden), nn.GELU()),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = nn.Linear(bottleneck, prototypes, bias=False)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Latents (..., D) -> logits (..., K)."""
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))
