"""All layers of a network in one pass: hooks on its blocks, and each layer's tokens pooled as they come by."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

POOLINGS = ("mean", "class", "tokens")
"""Of a layer's tokens: the mean of the patches (of a sentence its words), the class token, the patches as they are."""
VECTOR = "vector"
"""In place of a pooling, where a layer is one vector already."""
EMBED, LATENT = "embed", "latent"
BLOCKS = (
    "blocks",
    "model.blocks",
    "visual.transformer.resblocks",
    "visual.trunk.blocks",
    "tower.transformer.resblocks",
    "tower.transformer.encoder.layer",
    "tower.encoder.layer",
    "tower.encoder.layers",
    "tower.text_model.encoder.layers",
    "tower.layers",
    "tower.block",
)
"""Where the blocks are: of `ViT`, timm, open_clip's own ViTs and its others, then of text towers."""

Key = tuple[str, str]
"""A layer and a pooling."""


class Readout:
    """What is kept of one pass, float32 by layer and pooling; tokens are pooled at once, for all of them fill memory.

    Args:
        poolings: some of `POOLINGS`; one that a layer's tokens do not have is passed over.
        layers: those that are kept; None for all.

    Attributes:
        found: (B, D) of each, of "tokens" (B, N, D).
        prefix: tokens before the patches, that of the class first.
        mask: which tokens are words, bool (B, L); None where all tokens count.
        passed: layers that came by, kept or not.
    """

    def __init__(self, poolings: Sequence[str], layers: Sequence[str] | None = None) -> None:
        self.poolings, self.layers = poolings, layers
        self.found: dict[Key, Tensor] = {}
        self.passed: list[str] = []
        self.prefix = 0
        self.mask: Tensor | None = None

    def vector(self, layer: str, value: Tensor) -> None:
        """Keep a layer that is one vector for each row (B, D)."""
        if self._wants(layer):
            self.found[layer, VECTOR] = value.float()

    def tokens(self, layer: str, tokens: Tensor) -> None:
        """Keep what the poolings make of a layer's tokens (B, R + N, D), the prefix first."""
        if not self._wants(layer):
            return
        for pooling in self.poolings:
            value = self._pooled(pooling, tokens.float())
            if value is not None:
                self.found[layer, pooling] = value

    def _wants(self, layer: str) -> bool:
        self.passed.append(layer)
        return self.layers is None or layer in self.layers

    def _pooled(self, pooling: str, tokens: Tensor) -> Tensor | None:
        patches = tokens[:, self.prefix :]
        if pooling == "class":
            return tokens[:, 0] if self.prefix else None
        if self.mask is None:
            return patches.mean(dim=1) if pooling == "mean" else patches
        if pooling == "tokens":
            return None
        # A tower may add a token behind the sentence.
        words = F.pad(self.mask, (0, patches.shape[1] - self.mask.shape[1]))[..., None]
        return (patches * words).sum(dim=1) / words.sum(dim=1)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of an encoder or a text tower, in order; none where it does not show them."""
    for path in BLOCKS:
        try:
            return list(attrgetter(path)(network))
        except AttributeError:
            continue
    return []


@contextmanager
def watched(network: nn.Module, readout: Readout) -> Iterator[None]:
    """Within this, a pass of `network` leaves in `readout` what goes into its first block and comes out of each."""
    blocks = blocks_of(network)
    hooks = [block.register_forward_hook(partial(_after, readout, str(i))) for i, block in enumerate(blocks)]
    hooks += [block.register_forward_pre_hook(partial(_before, readout), with_kwargs=True) for block in blocks[:1]]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _before(readout: Readout, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    readout.tokens(EMBED, args[0] if args else kwargs["hidden_states"])


def _after(readout: Readout, layer: str, block: nn.Module, args: tuple[Any, ...], out: Any) -> None:
    readout.tokens(layer, out[0] if isinstance(out, tuple) else out)
