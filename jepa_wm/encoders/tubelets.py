"""From weights of images to weights of clips, and back: how many frames a token spans."""

import torch
from torch import Tensor

from jepa_wm.checkpoint import build, spec
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError

READERS = ("embed.weight", "convolutions.layers.0.weight")
"""What reads the frames of a token, its inputs ordered colour by colour, and frame by frame in each."""


def with_tubelet(vit: ViT, tubelet: int) -> ViT:
    """The encoder with tokens that span another number of frames; of a still clip it makes the same ones as before.

    Weights of one frame are shared out evenly among several, and those of several are summed into one; all others are
    those of the given one.

    Args:
        vit: any; with `modalities`, its embedding of images stays as it is.
        tubelet: frames that a token is to span.

    Raises:
        UserError: if neither the old tubelet nor the new one is a single frame.

    Source: Carreira & Zisserman 2017 (arXiv 1705.07750), inflation; for tubelets, ViViT (arXiv 2103.15691).
    """
    old = vit.tubelet
    if tubelet == old:
        return vit
    if tubelet < 1 or 1 not in (old, tubelet):
        raise UserError(f"tubelet: got {tubelet} for weights of tokens that span {old}; expected {old} or one frame")
    config = spec(vit)
    with torch.device("meta"):
        other = build(config | {"init_args": config["init_args"] | {"tubelet": tubelet}})
    spread = {name: _spread(value, old, tubelet) for name, value in vit.state_dict().items() if name in READERS}
    other.load_state_dict(vit.state_dict() | spread, assign=True)
    other.expect(vit.preprocessing)  # its colours are not part of the state
    other.source = vit.source
    return other.train(vit.training)


def _spread(weight: Tensor, old: int, new: int) -> Tensor:
    """A reader's weight (D, 3 * old * pixels), or (D, 3 * old, rows, columns), for other tubelets."""
    if weight.ndim == 2:
        weight = weight.unflatten(1, (3 * old, -1))
    mean = weight.unflatten(1, (3, old)).sum(dim=2, keepdim=True) / new
    spread = mean.expand(-1, -1, new, *mean.shape[3:]).flatten(1, 2)
    return spread.flatten(1) if spread.ndim == 3 else spread
