"""The held-out frames that are probed during training, and what is known of them."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from jepa_wm.data import BrokenSample, Clips, Images, Shards
from jepa_wm.data.canvas import allocate
from jepa_wm.data.samples import Row, Samples
from jepa_wm.errors import UserError

CLASSES = 20
"""Values up to which a factor of variation is one of several, and not a measure."""


class HeldOut(NamedTuple):
    """Moments of held-out samples, each in several views; those of a sample are adjacent.

    Attributes:
        pixels: uint8 (n, views, C, H, W): a frame and those after it, or crops of an image.
        numbers: what is known of a moment and is measured, float32 (n, k) by name.
        labels: what is known and is one of several, int64 (n,) by name.
        sample: int64 (n,), the sample that each moment is from.
    """

    pixels: Tensor
    numbers: dict[str, Tensor]
    labels: dict[str, Tensor]
    sample: Tensor


def read_held_out(shards: Shards, moments: int, views: int, most: int, size: int | None) -> HeldOut:
    """Read them.

    Args:
        shards: of episodes, videos or images; a split that nothing is trained on.
        moments: taken from each episode or video; an image is one.
        views: of each moment.
        most: moments in all, from samples spread evenly over the split.
        size: side that frames are resized and cropped to, in pixels; None leaves them as they are.

    Raises:
        UserError: if every sample is broken, or frames are not of one size.
    """
    images = shards.manifest is not None and shards.manifest.get("kind") == "images"
    samples = _images(shards, size) if images else _clips(shards, moments, views, size)
    count = max(min(len(samples), most // (1 if images else moments)), 1)
    rows: list[Row] = []
    for place in range(count):
        number = samples.stored((2 * place + 1) * len(samples) // (2 * count))
        try:
            read = _crops(samples, number, views) if images else samples.load(0, 0, number, allocate)
            factors = {} if images else _factors(shards, number)
        except BrokenSample:
            continue
        rows += [{**row, "factors": factors, "sample": number} for row in read]
    if not rows:
        raise UserError(f"every sample of {shards} is broken")
    return _stacked(rows, shards)


def side_of(transform: nn.Module | None) -> int | None:
    """The side of what a transform of torchvision makes, in pixels, if it says; the last part that says so counts."""
    parts: list[Any] = getattr(transform, "transforms", [transform])
    sizes = [size for part in parts if (size := getattr(part, "size", None))]
    if not sizes:
        return None
    return min(sizes[-1]) if isinstance(sizes[-1], Sequence) else int(sizes[-1])


def _clips(shards: Shards, moments: int, views: int, size: int | None) -> Samples:
    middle = v2.Compose([v2.Resize(size), v2.CenterCrop(size)]) if size else None
    return Clips(shards, views, 1, moments, middle)


def _images(shards: Shards, size: int | None) -> Samples:
    return Images(shards, v2.RandomResizedCrop(size, scale=(0.7, 1.0)) if size else v2.RandomHorizontalFlip())


def _crops(images: Samples, number: int, views: int) -> list[Row]:
    """An image as one row whose pixels are its views: what is drawn depends on the epoch."""
    rows = [images.load(0, view, number, allocate)[0] for view in range(views)]
    return [{**rows[0], "pixels": torch.stack([row["pixels"] for row in rows])}]


def _factors(shards: Shards, number: int) -> dict[str, np.ndarray]:
    """The factors of variation of an episode; a video has none."""
    try:
        found = json.loads(shards.members(number).get("json", b"{}"))
        return {name: np.atleast_1d(np.array(value, np.float32)) for name, value in found["factors"].items()}
    # Nobody has checked what a video's metadata say.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _stacked(rows: list[Row], shards: Shards) -> HeldOut:
    pixels = [_channels_first(row["pixels"]) for row in rows]
    if len(sizes := {tuple(frames.shape) for frames in pixels}) > 1:
        raise UserError(f"health: the frames of {shards} are of sizes {sorted(sizes)[:3]}; set health.size")
    numbers, labels = {}, {}
    samples = len({row["sample"] for row in rows})
    if all("state" in row for row in rows):
        numbers["position"] = torch.tensor(np.stack([row["state"][0] for row in rows]))
    if all(row.get("labels", -1) >= 0 for row in rows):
        labels["label"] = torch.tensor([row["labels"] for row in rows])
    for name in sorted(set.intersection(*(set(row["factors"]) for row in rows))):
        each = [row["factors"][name] for row in rows]
        if len({one.shape for one in each}) > 1 or not np.isfinite(np.stack(each)).all():
            continue
        values = torch.from_numpy(np.stack(each)).flatten(1)
        kinds, own = values.unique(dim=0, return_inverse=True)
        if len(kinds) <= min(CLASSES, samples // 2):
            labels[name] = own
        else:
            numbers[name] = values
    sample = torch.tensor([row["sample"] for row in rows])
    return HeldOut(torch.stack(pixels), numbers, labels, sample)


def _channels_first(pixels: Tensor | np.ndarray) -> Tensor:
    return pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels).movedim(-1, -3).contiguous()
