"""One data module for all shards: of images, and of episodes and videos, from which clips are cut."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from jepa_wm import distributed
from jepa_wm.data import Clips, EpisodeShards, Images, Loader, Mixture, Shards
from jepa_wm.data.cache import Cache
from jepa_wm.data.moments import Moments, from_statistics, to_statistics
from jepa_wm.data.samples import Samples
from jepa_wm.data.transforms import Beside
from jepa_wm.errors import UserError


class ClipDataModule(L.LightningDataModule):
    """Clips of `frames` frames, `frame_skip` steps apart, or images, from folders of shards.

    Args:
        folder: folder of shards, local or remote; or several of one kind, each with its weight in the mixture.
        frames: frames T of a clip; shards of images have none.
        frame_skip: steps between two frames.
        batch_size: clips or images in a batch, on each device.
        clips_per_episode: clips cut from an episode or video that is decoded once.
        transform: of the pixels uint8 (T, C, H, W) or (C, H, W), a torchvision one; None leaves them. The views that
            objectives need are cut from the pixels as they were before.
        seed: seeds the order and the cuts.
        workers: processes that decode; 0 decodes in this one.
        window: samples that are shuffled among each other, of shards in random order.
        max_broken: share of a folder's samples that may be broken before the run stops.
        cache: where remote shards are kept.
        latents: of episodes, read what `jepa-wm encode` put beside the frames, and not the frames.

    Raises:
        UserError: if the shards are no good, or those of several folders do not fit each other.
    """

    def __init__(
        self,
        folder: str | dict[str, float],
        frames: int = 4,
        frame_skip: int = 5,
        batch_size: int = 64,
        clips_per_episode: int = 4,
        transform: nn.Module | None = None,
        seed: int = 0,
        workers: int = 0,
        window: int = 8192,
        max_broken: float = 0.01,
        cache: Cache | None = None,
        latents: bool = False,
    ) -> None:
        super().__init__()
        self.weights = folder if isinstance(folder, dict) else {folder: 1.0}
        self.frames, self.frame_skip, self.batch_size = frames, frame_skip, batch_size
        self.clips_per_episode, self.transform = clips_per_episode, transform
        self.seed, self.workers, self.latents = seed, workers, latents
        self.window, self.max_broken, self.cache = window, max_broken, cache
        self.manifests = {source: Shards(source, "train", cache).manifest or {} for source in self.weights}
        kinds = {source: manifest.get("kind", "episodes") for source, manifest in self.manifests.items()}
        if len(set(kinds.values())) > 1:
            raise UserError(f"the folders of a mixture must be of one kind; got {kinds}")
        self.kind = next(iter(kinds.values()))
        self.views: Callable[[Tensor], dict[str, Tensor]] | None = None
        self.loaders: dict[str, Loader] = {}

    @property
    def statistics(self) -> dict[str, Any]:
        """Of episodes, mean and standard deviation of actions and states over the mixture, the actions' bounds, and,
        where latents are read, the fingerprints of what made them."""
        if self.kind != "episodes":
            return {}
        parts = {source: EpisodeShards(source, "train", self.cache).statistics for source in self.weights}
        moments = {
            name: _mixed({source: from_statistics(part, name) for source, part in parts.items()}, self.weights)
            for name in ("action", "state")
        }
        encoders = {"encoded_by": [manifest.get("encoded_by") for manifest in self.manifests.values()]}
        spaces = [manifest.get("action_space") for manifest in self.manifests.values()]
        return to_statistics(moments) | _bounds(spaces) | (encoders if self.latents else {})

    def train_dataloader(self) -> Loader:
        """Shuffled clips of the training splits, in full batches: losses over all ranks need equal ones."""
        self.loaders["train"] = self._loader("train", self.frames, self.batch_size, shuffle=True, full=True)
        return self.loaders["train"]

    def val_dataloader(self) -> Loader:
        """Clips of the validation splits, the same at every call."""
        full = distributed.world_size() > 1
        self.loaders["val"] = self._loader("val", self.frames, self.batch_size, shuffle=False, full=full)
        return self.loaders["val"]

    def longer(self, split: str, frames: int) -> Loader:
        """Shuffled clips of more frames, in batches of no more frames; what it draws is not among the run's samples.

        Raises:
            UserError: if they are not longer than the run's, there are no clips, or no sample is long enough.
        """
        if self.kind == "images" or frames < self.frames:
            got = "shards of images" if self.kind == "images" else f"clips of data.frames {self.frames}"
            raise UserError(f"data: got {got}; expected clips, of the {frames} frames that are asked for or fewer")
        each = self.clips_per_episode
        size = each * max(self.batch_size * self.frames // frames // each, 1)
        return self._loader(split, frames, size, shuffle=True, full=False)

    def report(self) -> dict[str, Any]:
        """What a run's manifest says of its data: by folder its hash and world, the side of square pictures as the
        model was shown them, and how many samples."""
        told = ("data_hash", "environment")
        hashes = {
            source: {**{name: made.get(name) for name in told}, "side": self._side(made.get("frame_shape"))}
            for source, made in self.manifests.items()
        }
        for split, loader in self.loaders.items():
            sources = loader.samples.sources
            for source, own, drawn, broken in zip(hashes.values(), sources, loader.drawn, loader.broken, strict=True):
                short = len(own.shards) - len(own)
                source |= {f"{split}_samples": drawn, f"{split}_short": short, f"{split}_broken": broken.why}
        return hashes

    def _side(self, frame: list[int] | None) -> int | None:
        if not frame or self.latents:
            return None
        shown = torch.zeros(1, *frame, dtype=torch.uint8)
        height, width = (self.transform(shown) if self.transform else shown).shape[-2:]
        return int(height) if height == width else None

    def _loader(self, split: str, frames: int, size: int, shuffle: bool, full: bool) -> Loader:
        samples = [self._samples(source, split, frames) for source in self.weights]
        return Loader(
            samples[0] if len(samples) == 1 else Mixture(samples, list(self.weights.values())),
            size,
            seed=self.seed,
            workers=self.workers,
            shuffle=shuffle,
            full=full,
            window=self.window,
            max_broken=self.max_broken,
        )

    def _samples(self, source: str, split: str, frames: int) -> Samples:
        transform = Beside(self.transform, self.views) if self.views else self.transform
        if self.kind == "images":
            return Images(Shards(source, split, self.cache), transform)
        shards = (EpisodeShards if self.kind == "episodes" else Shards)(source, split, self.cache)
        return Clips(shards, frames, self.frame_skip, self.clips_per_episode, transform, latents=self.latents)


def _mixed(moments: dict[str, Moments], weights: dict[str, float]) -> Moments:
    """The moments of a mixture, in which each source counts by its weight and not by its size."""
    widths = {source: len(part.mean) for source, part in moments.items()}
    if len(set(widths.values())) > 1:
        raise UserError(f"the folders of a mixture must have actions and states of one width; got {widths}")
    rows = sum(part.rows for part in moments.values())
    total = Moments()
    for source, part in moments.items():
        share = rows * weights[source] / sum(weights.values())
        total = total.merge(Moments(share, part.mean, part.std**2 * share))
    return total


def _bounds(spaces: list[dict[str, Any] | None]) -> dict[str, Any]:
    """The bounds, low (A,) and high (A,), that hold for all of a mixture's action spaces; None where there is none."""
    if not all(spaces):
        return {}
    sides = [
        (space["low"], space["high"]) if space["type"] == "Box" else ([0.0] * space["width"], [1.0] * space["width"])
        for space in spaces
        if space
    ]
    low, high = (zip(*side, strict=True) for side in zip(*sides, strict=True))
    least = [None if None in ends else min(ends) for ends in low]
    return {"action_bounds": (least, [None if None in ends else max(ends) for ends in high])}
