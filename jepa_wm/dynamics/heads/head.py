"""What can be read off the latents of a frame, and how the reading is learned."""

from typing import Any

from torch import Tensor, nn

from jepa_wm.contracts import Batch
from jepa_wm.errors import UserError


class Head(nn.Module):
    """Something read off the latents of one frame, real or imagined.

    Attributes:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame.
    """

    latent_dim: int
    tokens: int

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> what they say (..., …)."""
        raise NotImplementedError

    def error(self, latents: Tensor, batch: Batch) -> Tensor:
        """How wrong it is on the latents (B, T, N, D) of a clip, a scalar.

        Raises:
            UserError: if the batch lacks what is to be told.
        """
        raise NotImplementedError

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the data's statistics before training."""

    def after_step(self, progress: float) -> None:
        """Follow an optimiser step, e.g. with a moving average."""


def reader(latent_dim: int, tokens: int, width: int, outputs: int) -> nn.Sequential:
    """An MLP with two hidden layers of `width` that reads all tokens of a frame as one vector, (..., N, D)."""
    return nn.Sequential(
        *(nn.Flatten(-2), nn.Linear(tokens * latent_dim, width), nn.SiLU()),
        *(nn.Linear(width, width), nn.SiLU()),
        nn.Linear(width, outputs),
    )


def undecided(read: nn.Sequential) -> nn.Sequential:
    """A reader of bins, all alike at first: the expected one is 0, and a value has nothing wrong to build on."""
    last = read[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return read


def told(batch: Batch, name: str, head: str) -> Tensor:
    """The member of a batch that a head learns to tell.

    Raises:
        UserError: if the batch has none.
    """
    if name not in batch:
        raise UserError(
            f"{head}: the batch has no '{name}', which is what it learns; it has {', '.join(sorted(batch))}"
        )
    member: Tensor = batch[name]
    return member
