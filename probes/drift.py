"""How far what a world model imagines strays from what happened, step by step.

E episodes, K imagined steps behind T frames that are seen; a step is a block of `frame_skip` recorded actions.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jepa_wm.data import BrokenSample, Episode, EpisodeShards
from jepa_wm.data.broken import BrokenList
from jepa_wm.data.lengths import long_enough
from jepa_wm.errors import UserError
from jepa_wm.world_model import WorldModel
from probes.features import BATCH

GREY_LEVELS = 5.0
SHORTEST = 0.1
"""The share of episodes that may be too short to be looked at in full length."""


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
    """Latents (E, K, N, D) of the K frames to come.

    Attributes:
        real: of the frames.
        imagined: from the frames that were seen, and the recorded actions.
        still: of the last frame that was seen, K times: nothing changes.
        uncertainty: what an ensemble expects its error to be (E, K), the root mean square over N and D; None of a
            single predictor.
    """

    real: Tensor
    imagined: Tensor
    still: Tensor
    uncertainty: Tensor | None = None


def read_film(shards: EpisodeShards, frame_skip: int, frames: int | None = None, episodes: int | None = None) -> Film:
    """The beginnings of episodes; broken ones, and ones that are too short, are left out and reported.

    Args:
        shards: the episodes.
        frame_skip: environment steps between two frames.
        frames: frames T + K of each; if none are given, as many as fit into nine of ten episodes.
        episodes: how many of those that are long enough, from the first on; all if none is given.

    Raises:
        UserError: if no episode is long enough for so many frames, or for two, or all are broken.
    """
    if not frames:
        # Length 0 stands for metadata that cannot be read.
        known = [length for length in shards.lengths().tolist() if length] or [1]
        frames = max((int(np.quantile(known, SHORTEST, method="lower")) - 1) // frame_skip + 1, 2)
    return film_of(read_long(shards, frame_skip, frames, episodes), frame_skip, frames)


def film_of(episodes: list[Episode], frame_skip: int, frames: int) -> Film:
    """The first `frames` frames of episodes that are long enough, `frame_skip` steps apart."""
    span = (frames - 1) * frame_skip
    times = np.arange(0, span + 1, frame_skip)
    actions = np.stack([episode.actions[:span].reshape(frames - 1, -1) for episode in episodes])
    pixels, state = (np.stack([getattr(episode, name)[times] for episode in episodes]) for name in ("frames", "state"))
    return Film(*map(torch.from_numpy, (pixels, actions, state)))


def read_long(shards: EpisodeShards, frame_skip: int, frames: int, episodes: int | None = None) -> list[Episode]:
    """The episodes that are long enough for `frames` frames; the rest is as in `read_film`."""
    taken = f"{frames} frames {frame_skip} steps apart take"
    return _read(shards, long_enough(shards, (frames - 1) * frame_skip + 1, taken)[:episodes].tolist())


def _read(shards: EpisodeShards, numbers: list[int]) -> list[Episode]:
    episodes, broken = [], BrokenList(str(shards), len(shards))
    for number in numbers:
        try:
            episodes.append(shards[number])
        except BrokenSample as error:
            broken.add(error)
    if not episodes:
        raise UserError(f"every episode of {shards} is broken")
    return episodes


@torch.no_grad()
def encode(model: WorldModel, pixels: Tensor, state: Tensor) -> Tensor:
    """A world model's latents (n, N, D) of pixels uint8 (n, C, H, W) with their states (n, P), batch by batch."""
    batches = zip(pixels[:, None].split(BATCH), state[:, None].split(BATCH), strict=True)
    return torch.cat([model.encode(*batch)[:, 0].cpu() for batch in batches])


@torch.no_grad()
def stray(model: WorldModel, film: Film, seen: int = 1) -> Stray:
    """Imagine each episode behind its first `seen` frames."""
    real = encode(model, film.pixels.flatten(0, 1), film.state.flatten(0, 1)).unflatten(0, film.state.shape[:2])
    batches = zip(*(part.split(max(BATCH // film.state.shape[1], 1)) for part in film), strict=True)
    parts = [
        model.imagine(pixels[:, :seen], actions[:, seen - 1 :], actions[:, : seen - 1], state[:, :seen], clip=True)
        for pixels, actions, state in batches
    ]
    imagined = torch.cat([part.latents.cpu() for part in parts])
    uncertain = [part.uncertainty.cpu() for part in parts if part.uncertainty is not None]
    still = real[:, seen - 1 : seen].expand_as(imagined)
    return Stray(real[:, seen:], imagined, still, torch.cat(uncertain) if uncertain else None)


def noisy(model: WorldModel, film: Film, seed: int = 0) -> Tensor:
    """Latents (E, T + K, N, D) of the same frames with Gaussian noise on their pixels, of five grey levels."""
    noise = torch.randn(film.pixels.shape, generator=torch.Generator().manual_seed(seed))
    pixels = (film.pixels + GREY_LEVELS * noise).round().clamp(0, 255).byte()
    return encode(model, pixels.flatten(0, 1), film.state.flatten(0, 1)).unflatten(0, pixels.shape[:2])


def in_variances(other: Tensor, real: Tensor) -> Tensor:
    """Squared errors (E, K) of latents (E, K, N, D), in parts of the variance that the real ones have over E and K.

    1 is the error of always expecting their mean.
    """
    variance = real.flatten(0, 1).var(dim=0).sum()
    return (other - real).square().sum(dim=(-2, -1)) / variance
