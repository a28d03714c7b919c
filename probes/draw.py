"""What is drawn from shards, of whichever kind they are."""

from typing import Any

from jepa_wm.data import EpisodeShards
from jepa_wm.data.cache import Cache
from jepa_wm.data.folder import manifest_of
from jepa_wm.errors import UserError
from probes.features import SHARES, Rows, episodes_drawn, read_splits
from probes.parts import parts_of
from probes.pictures import read_pictures

HELD_OUT = ("val", "test")
"""Splits that nothing is trained on."""


def kind_of(folder: str) -> str:
    """What a folder of shards holds: "episodes" or "images".

    Raises:
        UserError: if it holds no finished shards, or those of something else.
    """
    kind = manifest_of(folder, Cache()).get("kind")
    if kind not in ("episodes", "images"):
        raise UserError(f"{folder} holds {kind}; expected episodes or images, with captions or without")
    return str(kind)


def of_several_sizes(folder: str) -> bool:
    """Whether the manifest of a folder of shards says that its pictures are not of one size."""
    manifest = manifest_of(folder, Cache())
    return "frame_shape" in manifest and manifest["frame_shape"] is None


def identity_of(folder: str) -> dict[str, Any]:
    """What tells a folder of shards from others, JSON values by name."""
    found = {"data_hash": manifest_of(folder, Cache()).get("data_hash")}
    # Stores of episodes are as they were before there were others.
    return found if kind_of(folder) == "episodes" else {**found, "kind": kind_of(folder)}


def read_rows(folder: str, frames: int, seed: int, each: int | None = None, size: int | None = None) -> dict[str, Rows]:
    """Draw about `frames` rows from the training split and `SHARES` of that from the others.

    Args:
        folder: of shards.
        frames: of episodes frames, of images captions, of which the first alone counts if `each` is None.
        seed: of the draw.
        each: frames of an episode or captions of an image, at most.
        size: of images alone, as of `Pictures`.

    Raises:
        UserError: if there are no such shards, or all of a split is broken, or frames are to be resized.
    """
    if kind_of(folder) == "images":
        return dict(read_pictures(folder, frames, seed, each, size))
    if size is not None:
        raise UserError(f"size: got {size}, and {folder} holds episodes, whose frames are of one size: leave it out")
    return dict(read_splits(folder, frames, seed, each))


def samples_drawn(folder: str, frames: int, each: int | None = None) -> dict[str, int]:
    """Of how many of each split's episodes or images `read_rows` draws, were none of them broken."""
    if kind_of(folder) == "images":
        sizes, each = {split: len(part.numbers) for split, part in parts_of(folder).items()}, each or 1
    else:
        sizes = {split: len(EpisodeShards(folder, split)) for split in SHARES}
    return {split: episodes_drawn(size, max(1, round(frames * SHARES[split])), each) for split, size in sizes.items()}


def compared(folder: str) -> tuple[str, ...]:
    """The splits that encoders are compared on: those that hold what is held out from training; all if nothing is."""
    if kind_of(folder) == "episodes":
        return HELD_OUT
    parts = parts_of(folder)
    return tuple(split for split, part in parts.items() if part.shards.split in HELD_OUT) or tuple(parts)
