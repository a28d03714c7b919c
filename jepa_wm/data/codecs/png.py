"""One PNG of all frames below each other: exact, and one call decodes it."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

MOST = 89_000_000
"""Pixels of a PNG that Pillow opens without a warning."""


def encode(frames: np.ndarray, quality: int = 6) -> bytes:
    """Frames uint8 (T, H, W, 3) -> a PNG of T · H rows; `quality` is zlib's effort, 0 to 9, and changes no pixel.

    Raises:
        ValueError: if they are more than can be read again.
    """
    if frames[..., 0].size > MOST:
        raise ValueError(f"got {frames[..., 0].size:,} pixels; expected {MOST:,} at most of png: use mjpeg or webp")
    data = io.BytesIO()
    Image.fromarray(frames.reshape(-1, *frames.shape[2:])).save(data, "png", compress_level=quality)
    return data.getvalue()


def decode(data: bytes, total: int, at: Sequence[int], out: Any) -> None:
    """Decode some frames into rows that are there; see `mjpeg.decode`. All frames before them are decoded too.

    Raises:
        ValueError: if it does not hold `total` frames of the rows' size.
    """
    try:
        # Nothing but PNG: some of Pillow's other formats run programs.
        image = Image.open(io.BytesIO(data), formats=("PNG",))
    except (OSError, SyntaxError) as error:
        raise ValueError("it is not a PNG") from error
    height, width = out[0].shape[:2]
    with image:
        if image.size != (width, total * height):
            raise ValueError(f"it is {image.width} x {image.height}; expected {width} x {total} times {height}")
        try:
            frames = np.asarray(image.convert("RGB")).reshape(total, height, width, 3)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"its PNG is broken: {error}") from error
    for number, row in zip(at, out, strict=True):
        row[:] = frames[number]
