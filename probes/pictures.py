"""Images that are probed, with their labels and captions; they stay in their shards until they are read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from jepa_wm.data import BrokenSample, Shards
from jepa_wm.data.broken import BrokenList
from jepa_wm.data.images import captions_of, decode_image
from jepa_wm.encoders import Preprocessing
from jepa_wm.errors import UserError
from probes.features import SHARES, Rows, episodes_drawn
from probes.parts import Part, parts_of

NO_LABEL = -1
TO_ONE_SIZE = (
    "'pixels' and runs of this package read them as they are: give the 'size' to which they are resized and cropped, "
    "such as that of the run's training, or leave those models out"
)


@dataclass(frozen=True)
class Pictures:
    """The images of n rows, decoded when they are asked for: photographs of all sizes, too many for memory.

    Args:
        shards: where they are.
        numbers: of each row's image in the shards, int64 (n,); rows of one image have the same.
        size: side in pixels to which they are resized and cropped for what has no size of its own; None to leave them.
    """

    shards: Shards
    numbers: Tensor
    size: int | None = None

    def __getitem__(self, index: Tensor) -> "Pictures":
        """Those of the rows numbered `index` (m,)."""
        return replace(self, numbers=self.numbers[index])

    def decode(self, sized: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Pixels uint8 (n, C, H, W).

        Args:
            sized: brings each image, uint8 (C, H, W), to the size of all; None for `size`.

        Raises:
            UserError: if they are not of one size then.
            BrokenSample: if one cannot be decoded.
        """
        sized = sized or (Preprocessing(self.size) if self.size else None)
        images = [self._read(number) for number in self.numbers.tolist()]
        images = [sized(image) for image in images] if sized else images
        if len({image.shape for image in images}) > 1:
            raise UserError(f"{self.shards} holds images of several sizes; {TO_ONE_SIZE}")
        return torch.stack(images)

    def _read(self, number: int) -> Tensor:
        return torch.from_numpy(self.shards.parsed(number, decode_image)).movedim(-1, -3)


def read_pictures(
    folder: str, frames: int, seed: int, each: int | None = None, size: int | None = None
) -> dict[str, Rows[Pictures]]:
    """Draw about `frames` images, or of several captions an image these, for training, `SHARES` of that for the others.

    Args:
        folder: of shards of images.
        frames: rows of the training split.
        seed: of the draw.
        each: captions of an image, at most, a row each, in their order; the first alone if None.
        size: as of `Pictures`.

    Raises:
        UserError: as of `parts_of`, or if all images of a split are broken.
    """
    rows = {}
    for number, (split, part) in enumerate(parts_of(folder).items()):
        random = np.random.default_rng([seed, number])
        drawn = draw_pictures(part, split, max(1, round(frames * SHARES[split])), random, each or 1)
        rows[split] = drawn._replace(pixels=replace(drawn.pixels, size=size))
    return rows


class _Row(NamedTuple):
    number: int
    label: int
    time: int
    caption: str


def draw_pictures(part: Part, split: str, frames: int, random: np.random.Generator, each: int = 1) -> Rows[Pictures]:
    """Draw about `frames` rows, `each` of an image at most; broken images are reported and left out.

    Args:
        part: the images.
        split: what they serve as, for messages.
        frames: rows in all.
        random: draws the images.
        each: captions of an image.

    Raises:
        UserError: if every image is broken.
    """
    shards, broken = part.shards, BrokenList(str(part.shards), len(part.shards))
    drawn = random.permutation(part.numbers)[: episodes_drawn(len(part.numbers), frames, each)].tolist()
    found: list[_Row] = []
    for number in tqdm(drawn, desc=f"{split} images", leave=False, disable=None):
        try:
            label, captions = shards.parsed(number, _told)
        except BrokenSample as error:
            broken.add(error)
            continue
        found += [_Row(number, label, time, caption) for time, caption in enumerate(captions[:each])]
    if not found:
        raise UserError(f"every image drawn from {shards} is broken")
    numbers, labels, time = (
        torch.tensor([getattr(row, name) for row in found]) for name in ("number", "label", "time")
    )
    return Rows(
        pixels=Pictures(shards, numbers),
        state=torch.zeros(len(found), 0),
        captions=[row.caption for row in found],
        factors={},
        episode=numbers + part.begin,
        region=None,
        time=time,
        ids=[f"{shards.name(row.number)}@{row.time}" for row in found],
        labels=labels if (labels != NO_LABEL).any() else None,
    )


def _told(members: dict[str, bytes]) -> tuple[int, list[str]]:
    """The label of an image, `NO_LABEL` where there is none, and its captions.

    It is decoded and forgotten: rows are numbered before they are read, and a broken one would have no features.
    """
    decode_image(members)
    return int(members.get("cls", NO_LABEL)), captions_of(members)
