"""What can be read off the latents of a frame, and how the reading is learned."""

from typing import Any

from torch import Tensor, nn

from jepa_wm.contracts import Batch
from jepa_wm.errors import UserError

PARTS = ("encoder", "dynamics", "text", "frames", "bounds", "heads", "calibration", "proposal")
"""What the parts of a world model are called, beside which its heads are saved."""


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


def check_name(name: str, owner: str) -> None:
    """Refuse a name that no head can have: one that is no identifier, a part's, or one that `nn.ModuleDict` needs.

    Raises:
        UserError: if it is such a name.
    """
    if not name.isidentifier() or name in PARTS or hasattr(nn.ModuleDict(), name):
        raise UserError(
            f"{owner}: got a head named '{name}'; expected a word of letters, digits and underscores, other than "
            f"{', '.join(PARTS)} and the attributes and methods of nn.ModuleDict"
        )


def check_heads(heads: dict[str, nn.Module]) -> None:
    """Refuse heads of a world model that would not come back from a folder as they went in.

    Raises:
        UserError: if a name is none that a head can have, or one head has two, or something is no head.
    """
    for name, head in heads.items():
        check_name(name, "WorldModel")
        if not isinstance(head, Head):
            raise UserError(f"WorldModel: the head '{name}' is a {type(head).__name__}; expected a Head")
    if len({id(head) for head in heads.values()}) < len(heads):
        raise UserError(f"WorldModel: got one head under two names, of {sorted(heads)}; expected each once")


def reader(latent_dim: int, tokens: int, width: int, outputs: int) -> nn.Sequential:
    """An MLP with two hidden layers of `width` that reads all tokens of a frame as one vector, (..., N, D)."""
    return nn.Sequential(
        *(_Frame(tokens, latent_dim), nn.Linear(tokens * latent_dim, width), nn.SiLU()),
        *(nn.Linear(width, width), nn.SiLU()),
        nn.Linear(width, outputs),
    )


class _Frame(nn.Module):
    """The tokens of a frame as one vector: (..., N, D) -> (..., N * D)."""

    def __init__(self, tokens: int, latent_dim: int) -> None:
        super().__init__()
        self.shape = (tokens, latent_dim)

    def forward(self, latents: Tensor) -> Tensor:
        # Fewer tokens that are wider make a vector as long, and nonsense of it.
        if latents.shape[-2:] != self.shape:
            got = tuple(latents.shape[-2:])
            raise UserError(
                f"head: got frames of (tokens, width) {got}; expected {self.shape}, its tokens and latent_dim"
            )
        return latents.flatten(-2)


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
