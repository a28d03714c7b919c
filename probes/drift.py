"""How far what a world model imagines strays from what happened, step by step.

E episodes, K imagined steps behind T frames that are seen; a step is a block of `frame_skip` recorded actions.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jepa_wm.data import EpisodeShards
from jepa_wm.errors import UserError
from jepa_wm.world_model import WorldModel
from probes.features import BATCH

GREY_LEVELS = 5.0
"""Standard deviation of the noise on the pixels, of 255, that the encoder's own noise is told by."""


class Film(NamedTuple):
    """What was recorded of E episodes, one frame a block.

    Attributes:
        pixels: uint8 (E, T + K, C, H, W).
        actions: blocks (E, T + K - 1, frame_skip * A).
        state: float32 (E, T + K, P).
    """

    pixels: Tensor
    actions: Tensor
    state: Tensor


class Stray(NamedTuple):
    """Latents of the K frames to come, flattened (E, K, N * D), and what is expected of the imagined ones.

    Attributes:
        real: of the frames.
        imagined: from the frames that were seen, and the recorded actions.
        still: of the last frame that was seen, K times: nothing changes.
        noisy: of the frames with noise on their pixels.
        uncertainty: what the model expects its error to be (E, K), the root mean square over N and D; None if it
            does not know.
    """

    real: Tensor
    imagined: Tensor
    still: Tensor
    noisy: Tensor
    uncertainty: Tensor | None

    def errors(self) -> dict[str, Tensor]:
        """Squared errors (E, K) of what is imagined, of standing still and of noisy pixels, in parts of the variance.

        The variance is that of the real latents over episodes and steps; 1 is the error of always expecting their mean.
        """
        variance = self.real.flatten(0, 1).var(dim=0).sum()
        kinds = {"imagined": self.imagined, "still": self.still, "noisy": self.noisy}
        return {name: (other - self.real).square().sum(dim=-1) / variance for name, other in kinds.items()}


def read_films(shards: EpisodeShards, frame_skip: int, frames: int, episodes: int) -> Film:
    """The beginnings of the first `episodes` that are long enough, `frames` frames each.

    Raises:
        UserError: if none is.
    """
    span = (frames - 1) * frame_skip
    long_enough = np.flatnonzero(shards.lengths() > span)[:episodes].tolist()
    if not long_enough:
        raise UserError(
            f"{shards} has no episode of {span + 1} frames, which {frames} frames {frame_skip} steps apart need; the "
            f"longest has {max(shards.lengths())}"
        )
    read = [shards[index] for index in long_enough]
    times = np.arange(0, span + 1, frame_skip)
    actions = np.stack([episode.actions[:span].reshape(frames - 1, -1) for episode in read])
    pixels, state = (np.stack([getattr(episode, name)[times] for episode in read]) for name in ("frames", "state"))
    return Film(*map(torch.from_numpy, (pixels, actions, state)))


@torch.no_grad()
def encode(model: WorldModel, pixels: Tensor, state: Tensor | None = None) -> Tensor:
    """Latents (E, T, N * D) of pixels uint8 (E, T, C, H, W), some episodes at a time."""
    size = max(BATCH // pixels.shape[1], 1)
    states = [None] * len(pixels) if state is None else state.split(size)
    return torch.cat(
        [model.encode(part, own).flatten(2).cpu() for part, own in zip(pixels.split(size), states, strict=False)]
    )


@torch.no_grad()
def stray(model: WorldModel, film: Film, seen: int = 1, seed: int = 0) -> Stray:
    """Imagine each episode behind its first `seen` frames.

    Args:
        model: the world model, in eval mode.
        film: the episodes.
        seen: frames T that the model may look at.
        seed: of the noise.
    """
    pixels, actions, state = film
    real = encode(model, pixels, state)
    size = max(BATCH // pixels.shape[1], 1)
    parts = [
        model.imagine(p[:, :seen], a[:, seen - 1 :], a[:, : seen - 1], s[:, :seen], clip=True)
        for p, a, s in zip(pixels.split(size), actions.split(size), state.split(size), strict=True)
    ]
    uncertain = [part.uncertainty.cpu() for part in parts if part.uncertainty is not None]
    noise = torch.randn(pixels[:, seen:].shape, generator=torch.Generator().manual_seed(seed))
    disturbed = (pixels[:, seen:] + GREY_LEVELS * noise).round().clamp(0, 255).to(torch.uint8)
    ahead = real[:, seen:]
    return Stray(
        ahead,
        torch.cat([part.latents.flatten(2).cpu() for part in parts]),
        real[:, seen - 1 : seen].expand_as(ahead),
        encode(model, disturbed, state[:, seen:]),
        torch.cat(uncertain) if uncertain else None,
    )
