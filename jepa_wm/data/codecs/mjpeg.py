"""One JPEG a frame, in a row: small, and any frame is decoded without the others."""

import io
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

# The end of one picture and the start of the next; neither occurs within a picture's compressed data.
_BETWEEN = re.compile(b"\xff\xd9(?=\xff\xd8\xff)")


def encode(frames: np.ndarray, quality: int = 88) -> bytes:
    """Frames uint8 (T, H, W, 3) -> JPEGs of `quality` (1 to 100) in a row."""
    return b"".join(_jpeg(Image.fromarray(frame), quality) for frame in frames)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    # Colour at full resolution: at half of it a small object loses its own, for bytes that quality saves better.
    save = partial(picture.save, format="jpeg", quality=quality, subsampling="4:4:4")
    data = io.BytesIO()
    try:
        save(data, optimize=True)
    except OSError:
        # To save bytes Pillow needs the whole picture in a buffer, which is too small for noise.
        data = io.BytesIO()
        save(data)
    return data.getvalue()


def decode(data: bytes, total: int, at: Sequence[int], out: Any) -> None:
    """Decode some frames into rows that are there.

    Args:
        data: what `encode` gave.
        total: frames that it holds.
        at: numbers of those to decode, ascending.
        out: for each a row, uint8 (H, W, 3), contiguous.

    Raises:
        ValueError: if it does not hold `total` frames of the rows' size.
    """
    starts = [0, *(match.end() for match in _BETWEEN.finditer(data)), len(data)]
    if len(starts) != total + 1:
        raise ValueError(f"it holds {len(starts) - 1} JPEGs; expected {total}")
    view = memoryview(data)
    for number, row in zip(at, out, strict=True):
        # Bounded by its buffer; a smaller picture shows in what is returned.
        picture = simplejpeg.decode_jpeg(view[starts[number] : starts[number + 1]], "RGB", buffer=row)
        if picture.shape != row.shape:
            raise ValueError(f"frame {number} is {picture.shape[:2]}; expected {row.shape[:2]}")
