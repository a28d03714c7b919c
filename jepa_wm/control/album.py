"""Recorded frames in place of latents that nothing draws."""

from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from jepa_wm.control.sight import Sight
from jepa_wm.control.training_episodes import training_episodes
from jepa_wm.data.folder import STAGES
from jepa_wm.manifest import read_manifest
from jepa_wm.world_model import WorldModel

FRAMES = 2000


class Album:
    """Shows latents as those frames of training episodes whose own latents are nearest.

    What latents do not hold is arbitrary in such a frame. The first `FRAMES` at random, whole episodes a frame a block,
    are encoded when they are first asked for.

    Args:
        model: whose latents are shown.
        data: folder of shards.
        size: side of the pictures that the model was trained on; see `Sight`.
    """

    def __init__(self, model: WorldModel, data: str, size: int | None = None) -> None:
        self.model, self.data, self.sight = model, data, Sight(model, size)

    @classmethod
    def of(cls, model: WorldModel, data: str | None, size: int | None = None) -> Self | None:
        """The album of a folder of shards, if it has a training split."""
        there = data is not None and "train" in read_manifest(data, *STAGES).get("splits", {})
        return cls(model, str(data), size) if there else None

    @torch.no_grad()
    def __call__(self, latents: Tensor) -> Tensor:
        """Frames (..., 3, H, W), between 0 and 1, for latents (..., N, D)."""
        known, frames = self._known
        wanted = latents.detach().cpu().float().flatten(-2)
        near = torch.cdist(wanted.flatten(0, -2), known).argmin(dim=-1)
        return frames[near].unflatten(0, wanted.shape[:-1]) / 255

    @cached_property
    def _known(self) -> tuple[Tensor, Tensor]:
        """Latents (n, N * D) and their frames uint8 (n, 3, H, W)."""
        latents, frames, skip = list[Tensor](), list[Tensor](), self.model.dynamics.frame_skip
        for _, episode in training_episodes(self.data, seed=0):
            shown = episode.frames[::skip]
            seen, _ = self.sight.see(shown, episode.state[::skip])
            latents.append(self.model.latents_of(seen).cpu().float().flatten(1))
            frames.append(torch.from_numpy(np.ascontiguousarray(shown)))
            if sum(map(len, frames)) >= FRAMES:
                break
        return torch.cat(latents), torch.cat(frames)
