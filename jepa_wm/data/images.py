"""Read images, with their labels and captions."""

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError
from torch import Tensor, from_numpy

from jepa_wm.data.canvas import Allocate, allocate
from jepa_wm.data.samples import Row, Samples
from jepa_wm.data.shards import Shards
from jepa_wm.data.transforms import Transform, seeded

EXTENSIONS = ("jpg", "jpeg", "png", "webp")
MAX_PIXELS = 2**26


class Images(Samples):
    """Images of shards.

    Each gives `pixels` uint8 (C, H, W), `labels` int64 () (-1 where there is no `cls`), `captions` (""
    where there is no `txt`) and `index` int64 (1,), its number in the shards.

    Args:
        shards: of images.
        transform: of uint8 (C, H, W), seeded by seed, epoch and sample; see `jepa_wm.data.transforms`.
    """

    def __init__(self, shards: Shards, transform: Transform | None = None) -> None:
        super().__init__(shards)
        self.transform = transform

    def load(self, seed: int, epoch: int, number: int, new: Allocate) -> list[Row]:
        """See `Samples.load`."""
        members = self.shards.members(number)
        try:
            row: Row = {
                "pixels": decode_image(members, allocate if self.transform else new),
                "labels": class_of(members),
                "captions": members.get("txt", b"").decode(),
                "index": (number,),
            }
        # Hostile bytes make the decoders raise nearly anything; none of it may end a run.
        except Exception as error:
            raise self.shards.broken(number, error) from error
        return [row | transformed(self.transform, row["pixels"], seed, epoch, number, 0) if self.transform else row]


def class_of(members: dict[str, bytes]) -> int:
    """The number of the class among the contents of a sample's members, -1 if there is none.

    Raises:
        ValueError, OverflowError: if it is no number, or none that fits 64 bits.
    """
    return int(np.int64(int(members.get("cls", b"-1"))))


def decode_image(members: dict[str, bytes], new: Allocate = allocate) -> np.ndarray:
    """The image among the contents of a sample's members, by extension: uint8 (H, W, 3), in memory that `new` gives.

    Raises:
        ValueError, OSError, …: whatever the decoders raise on what is not an image.
    """
    data = _image(members)
    if data[:2] == b"\xff\xd8":
        # What it finds fault with, stray bytes for one, Pillow may still read.
        with suppress(ValueError):
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            _check_pixels(width, height)
            return simplejpeg.decode_jpeg(data, "RGB", buffer=new((height, width, 3)))
    with _opened(data) as image:
        check_depth(image)
        out = new((image.height, image.width, 3))
        out[:] = np.asarray(image.convert("RGB"))
        return out


def captions_of(members: dict[str, bytes]) -> list[str]:
    """All captions of an image: that in `txt`, or those of the list in `json` that begins with it; "" if there is none.

    Raises:
        ValueError, RecursionError: if the members are no text or no JSON.
    """
    first = members.get("txt", b"").decode()
    about = json.loads(members.get("json", b"{}"))
    for value in about.values() if isinstance(about, dict) else ():
        if isinstance(value, list) and value[:1] == [first] and all(isinstance(each, str) for each in value):
            return [each for each in value if each.strip()] or [first]
    return [first]


def image_size(members: dict[str, bytes]) -> tuple[int, int]:
    """Height and width of the image among the contents of a sample's members, which is not decoded.

    Raises:
        ValueError, OSError, …: whatever the parsers raise on what is not an image.
    """
    with _opened(_image(members)) as image:
        return image.height, image.width


def _image(members: dict[str, bytes]) -> bytes:
    extension = next((extension for extension in EXTENSIONS if extension in members), None)
    if extension is None:
        raise ValueError(f"it has no image: expected one of {', '.join(EXTENSIONS)}; got {sorted(members)}")
    return members[extension]


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        # Pillow warns of large images; the limit here is the smaller one.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            # Nothing but what may be stored: some of Pillow's other formats run programs.
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
        except UnidentifiedImageError:
            raise ValueError("its image is neither JPEG nor PNG nor WebP") from None
        with image:
            _check_pixels(*image.size)
            yield image


def check_depth(image: Image.Image) -> None:
    """Raise a ValueError if readers would cut off most values of an image."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels are of Pillow's mode {image.mode}; expected 8 bits a channel: scale them first")


def transformed(transform: Transform, pixels: np.ndarray, *seeds: int) -> Row:
    """What a transform makes of pixels uint8 (…, H, W, 3): they, or several kinds of views by name."""
    views: Tensor | dict[str, Tensor] = seeded(transform, from_numpy(pixels).movedim(-1, -3), *seeds)
    return views if isinstance(views, dict) else {"pixels": views}


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"it is {width} x {height}; at most {MAX_PIXELS} pixels are accepted")
