"""The frames that are probed, and their latents."""

from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from jepa_wm.data import BrokenSample, EpisodeShards
from jepa_wm.data.broken import BrokenList
from jepa_wm.envs import TWO_ROOMS, region_of
from jepa_wm.errors import UserError

SHARES = {"train": 1.0, "val": 0.1, "test": 0.4}
"""Frames of each split, as a share of those that probes are trained on."""

BATCH = 256
Pixels = TypeVar("Pixels")


class Rows(NamedTuple, Generic[Pixels]):
    """Frames or images with what is true of them, those of an episode adjacent and in random order.

    Attributes:
        pixels: uint8 (n, C, H, W) of frames; of images `probes.pictures.Pictures`, which are not read yet.
        state: float32 (n, P); P is 0 for images.
        captions: n sentences.
        factors: float32 (n, k) by name: k is 3 for a colour, else 1.
        episode: int64 (n,), a number that no other split uses; of images that of the image.
        region: int64 (n,), the number of the region that the disc is in; None elsewhere than in the two rooms.
        time: int64 (n,), of the frame in its episode, from 0; of images the place of the caption among the image's.
        ids: n names: shard, episode and time, or shard, key and the place of the caption.
        labels: int64 (n,), -1 where there is none; None if there is none at all.
    """

    pixels: Pixels
    state: Tensor
    captions: list[str]
    factors: dict[str, Tensor]
    episode: Tensor
    region: Tensor | None
    time: Tensor
    ids: list[str]
    labels: Tensor | None = None

    def first(self, count: int) -> "Rows[Pixels]":
        """The first `count` rows."""
        return self.take(torch.arange(min(count, len(self.ids))))

    def take(self, index: Tensor) -> "Rows[Pixels]":
        """The rows numbered `index` (m,), in that order."""
        return Rows(*(_taken(column, index) for column in self))


def _taken(column: Any, index: Tensor) -> Any:
    if isinstance(column, dict):
        return {name: value[index] for name, value in column.items()}
    if isinstance(column, list):
        return [column[i] for i in index.tolist()]
    return None if column is None else column[index]


def read_splits(folder: str, frames: int, seed: int, each: int | None = None) -> dict[str, Rows[Tensor]]:
    """Draw about `frames` frames from the training split and `SHARES` of that from the others.

    Args:
        folder: of shards.
        frames: of the training split.
        seed: of the draw.
        each: frames of an episode, at most; as few as the number of episodes allows if None.

    Raises:
        UserError: if the folder holds no finished shards, a split is missing, or all of it is broken.
    """
    rows, begin = {}, 0
    for number, (split, share) in enumerate(SHARES.items()):
        shards = EpisodeShards(folder, split)
        rows[split] = draw_rows(
            shards, max(1, round(frames * share)), np.random.default_rng([seed, number]), begin, each
        )
        begin += len(shards)
    return rows


def draw_rows(
    shards: EpisodeShards, frames: int, random: np.random.Generator, begin: int = 0, each: int | None = None
) -> Rows[Tensor]:
    """Draw about `frames` frames, as few from each episode as the number of episodes allows.

    Args:
        shards: the episodes; broken ones are reported and left out.
        frames: frames in all.
        random: draws the episodes, and the times in each.
        begin: number of the split's first episode in `Rows.episode`.
        each: frames of an episode, at most, though the frames may then be fewer; None as said above.

    Raises:
        UserError: if every episode is broken.
    """
    count = episodes_drawn(len(shards), frames, each)
    each = each or -(-frames // len(shards))
    columns: dict[str, list[Any]] = {name: [] for name in Rows._fields}
    drawn = random.permutation(len(shards))[:count].tolist()
    lengths, broken = shards.lengths(), BrokenList(str(shards), len(shards))
    for index in tqdm(drawn, desc=f"{shards.split} frames", leave=False, disable=None):
        times = random.permutation(lengths[index])[:each]
        try:
            episode = shards[index]
        except BrokenSample as error:
            broken.add(error)
            continue
        columns["pixels"].append(torch.from_numpy(episode.frames[times]))
        columns["state"].append(torch.from_numpy(episode.state[times]))
        columns["captions"] += [episode.captions[time] for time in times]
        columns["factors"] += [episode.factors] * len(times)
        columns["episode"].append(torch.full((len(times),), begin + index))
        columns["time"].append(torch.from_numpy(times))
        columns["ids"] += [f"{shards.name(index)}@{time}" for time in times]
    if not columns["pixels"]:
        raise UserError(f"every episode drawn from {shards} is broken; `jepa-wm shards verify` says how")
    pixels, state, episodes, time = (torch.cat(columns[name]) for name in ("pixels", "state", "episode", "time"))
    region = torch.from_numpy(region_of(state.numpy())) if _in_two_rooms(shards) else None
    factors = _factors(columns["factors"])
    return Rows(pixels, state, columns["captions"], factors, episodes, region, time, columns["ids"])


def episodes_drawn(episodes: int, frames: int, each: int | None = None) -> int:
    """Of how many of a split's episodes `draw_rows` takes frames, were none of them broken."""
    return min(episodes, -(-frames // (each or -(-frames // episodes))))


def _in_two_rooms(shards: EpisodeShards) -> bool:
    return (shards.manifest or {}).get("environment") == TWO_ROOMS


def _factors(each: list[dict[str, float | list[float]]]) -> dict[str, Tensor]:
    return {
        name: torch.tensor(np.array([factors[name] for factors in each], dtype=np.float32)).reshape(len(each), -1)
        for name in each[0]
    }


@torch.no_grad()
def encode(encoder: nn.Module, pixels: Tensor) -> Tensor:
    """Pooled latents (n, D) of pixels uint8 (n, C, H, W), batch by batch."""
    model: Any = encoder
    return torch.cat([model.pooled(chunk).float() for chunk in pixels.split(BATCH)])


def encode_splits(encoder: nn.Module, rows: dict[str, Rows[Tensor]]) -> dict[str, Tensor]:
    """Pooled latents (n, D) of each split."""
    return {split: encode(encoder, part.pixels) for split, part in rows.items()}
