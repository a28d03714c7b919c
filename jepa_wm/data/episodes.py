"""An episode, in memory and as the members of a webdataset sample."""

import io
import json
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from jepa_wm.errors import UserError

MEMBERS = ("frames.png", "actions.npy", "state.npy", "reward.npy", "json")
MAX_PIXELS = 2**26


class Episode(NamedTuple):
    """One recorded episode of T frames, in numpy.

    Attributes:
        frames: uint8 (T, 3, H, W).
        actions: float32 (T-1, A); `actions[t]` leads from frame t to frame t+1.
        state: float32 (T, P).
        reward: float32 (T-1,); `reward[t]` came with frame t+1.
        captions: a sentence for each of the T frames.
        factors: factors of variation, by name: a number, or a list of them (a colour).
        id: its name in the split: letters, digits, `-` and `_`.
    """

    frames: np.ndarray
    actions: np.ndarray
    state: np.ndarray
    reward: np.ndarray
    captions: list[str]
    factors: dict[str, float | list[float]]
    id: str


class BrokenSample(UserError):
    """A sample that cannot be decoded; the message names its shard and key."""


def encode(episode: Episode) -> dict[str, bytes]:
    """An episode -> the contents of its members, by extension.

    The frames are one film strip, (T * H, W) pixels of lossless PNG: one call decodes an episode.

    Raises:
        UserError: if the parts of the episode do not fit together, or it has too many pixels.
    """
    try:
        check(episode)
    except ValueError as error:
        raise UserError(f"episode '{episode.id}' cannot be written: {error}") from error
    frames, _, height, width = episode.frames.shape
    strip = episode.frames.transpose(0, 2, 3, 1).reshape(frames * height, width, 3)
    png = io.BytesIO()
    Image.fromarray(strip).save(png, "png", compress_level=1)
    meta = {"captions": episode.captions, "factors": episode.factors, "height": height, "frames": frames}
    arrays = {"actions.npy": episode.actions, "state.npy": episode.state, "reward.npy": episode.reward}
    return {
        "frames.png": png.getvalue(),
        **{name: _npy(array) for name, array in arrays.items()},
        "json": json.dumps(meta, allow_nan=False).encode(),
    }


def decode(members: dict[str, bytes], key: str) -> Episode:
    """The contents of members, by extension -> an episode; never unpickles, never inflates a bomb.

    Raises:
        ValueError, OSError, …: whatever the parsers raise on what is not an episode.
    """
    meta = json.loads(members["json"])
    strip = _png(members["frames.png"])
    frames = strip.reshape(meta["frames"], meta["height"], strip.shape[1], 3).transpose(0, 3, 1, 2)
    actions, state, reward = (
        np.load(io.BytesIO(members[name]), allow_pickle=False) for name in ("actions.npy", "state.npy", "reward.npy")
    )
    episode = Episode(frames, actions, state, reward, meta["captions"], meta["factors"], key)
    check(episode)
    return episode


def check(episode: Episode) -> None:
    """Raise a ValueError that says which part of `episode` does not fit the others."""
    frames = len(episode.frames)
    expected: dict[str, tuple[type, tuple[int | None, ...]]] = {
        "frames": (np.uint8, (None, 3, None, None)),
        "actions": (np.float32, (frames - 1, None)),
        "state": (np.float32, (frames, None)),
        "reward": (np.float32, (frames - 1,)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(episode, name)
        fits = array.ndim == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
        if array.dtype != dtype or not fits:
            raise ValueError(f"{name} is {array.dtype} {array.shape}; expected {dtype.__name__} {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")
    _check_pixels(episode.frames.size // 3)
    if not _is_captions(episode.captions) or len(episode.captions) != frames:
        raise ValueError(f"captions are not a list of {frames} sentences")
    if not isinstance(episode.factors, dict):
        raise ValueError("factors are not a dictionary")


def _is_captions(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(caption, str) for caption in value)


def _png(data: bytes) -> np.ndarray:
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
    except UnidentifiedImageError:
        raise ValueError("its film strip is not a PNG") from None
    with image:
        _check_pixels(image.width * image.height)
        if image.mode != "RGB":
            raise ValueError(f"the film strip is {image.mode}; expected RGB")
        return np.asarray(image)


def _check_pixels(pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise ValueError(f"the film strip has {pixels} pixels; at most {MAX_PIXELS} are accepted")


def _npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    return data.getvalue()
