"""One WebP a frame, in a row: smaller than JPEG at equal quality, and slower both ways."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image


def encode(frames: np.ndarray, quality: int = 90) -> bytes:
    """Frames uint8 (T, H, W, 3) -> WebPs of `quality` (1 to 100) in a row."""
    data = []
    for frame in frames:
        part = io.BytesIO()
        Image.fromarray(frame).save(part, "webp", quality=quality)
        data.append(part.getvalue())
    return b"".join(data)


def decode(data: bytes, total: int, at: Sequence[int], out: Any) -> None:
    """Decode some frames into rows that are there; see `mjpeg.decode`.

    Raises:
        ValueError: if it does not hold `total` frames of the rows' size.
    """
    starts = _starts(data)
    if len(starts) != total + 1:
        raise ValueError(f"it holds {len(starts) - 1} WebPs; expected {total}")
    for number, row in zip(at, out, strict=True):
        try:
            with Image.open(io.BytesIO(data[starts[number] : starts[number + 1]]), formats=("WEBP",)) as image:
                if (image.height, image.width) != row.shape[:2]:
                    raise ValueError(f"frame {number} is {image.height} x {image.width}; expected {row.shape[:2]}")
                row[:] = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ValueError(f"frame {number} is no WebP: {error}") from error


def _starts(data: bytes) -> list[int]:
    """Where each picture begins: a RIFF file says how long it is."""
    starts, at = [0], 0
    while at < len(data):
        if data[at : at + 4] != b"RIFF":
            raise ValueError(f"no WebP begins at byte {at}")
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        starts.append(at)
    return starts
