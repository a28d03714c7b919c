"""Predictors that read each frame once and keep its keys and values."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn

from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics.blocks import Trunk
from jepa_wm.dynamics.cache import Cache
from jepa_wm.encoders.positions import Rotation

Caches = tuple[Cache | None, ...]


class CachedState(NamedTuple):
    """Newest latent (B, N, D), its frame number, and each block's cache of the frames before."""

    latent: Tensor
    frame: int
    caches: Caches


class CachedDynamics(Dynamics):
    """A stack of blocks with a cache over frames; a subclass says in `read` what enters it and what leaves it.

    Attributes:
        trunk: the size of the blocks.
    """

    trunk: Trunk

    def read(self, latents: Tensor, actions: Tensor, frame: int, caches: Caches) -> tuple[Tensor, Caches]:
        """Read frames (B, T, N, D), the first of which has number `frame`, behind what is in the caches.

        Returns:
            The latents that follow each, and the caches with these frames in them.
        """
        raise NotImplementedError

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Teacher forcing: latents (B, T, N, D) and the action after each (B, T, A) -> the next of each."""
        return self.read(latents, actions, 0, (None,) * self.trunk.depth)[0]

    def start(self, latents: Tensor, actions: Tensor) -> CachedState:
        """Read the context once: latents (B, T, N, D), actions between them (B, T-1, A)."""
        caches: Caches = (None,) * self.trunk.depth
        past = latents.shape[1] - 1
        if past:
            caches = self.read(latents[:, :-1], actions, 0, caches)[1]
        return CachedState(latents[:, -1], past, caches)

    def step(self, state: CachedState, action: Tensor) -> CachedState:
        """Advance by one latent under `action` (B, A)."""
        latent, caches = self.read(state.latent[:, None], action[:, None], state.frame, state.caches)
        return CachedState(latent[:, 0], state.frame + 1, caches)

    def latent(self, state: CachedState) -> Tensor:
        """The state's newest latent (B, N, D)."""
        return state.latent

    def expand(self, state: CachedState, candidates: int) -> CachedState:
        """S candidates of each state, adjacent; what was seen is not copied."""
        caches = tuple(None if cache is None else cache.expand(candidates) for cache in state.caches)
        return CachedState(state.latent.repeat_interleave(candidates, dim=0), state.frame, caches)


def through(
    blocks: Iterable[nn.Module], x: Tensor, condition: Tensor, rotation: Rotation | None, caches: Caches
) -> tuple[Tensor, Caches]:
    """Tokens x (B, T, N, W) of new frames through all blocks (`PredictorBlock`), each with its cache."""
    new = []
    for block, cache in zip(blocks, caches, strict=True):
        x, cache = block(x, condition, rotation, cache)
        new.append(cache)
    return x, tuple(new)
