"""The bytes of an image file as a member: kept if readers know its format, else made PNG."""

import io
import warnings

from PIL import Image

from jepa_wm.data.images import MAX_PIXELS
from jepa_wm.errors import UserError

KEPT = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
FORMATS = (*KEPT, "BMP", "GIF", "PPM", "TIFF")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}


def image_member(data: bytes, where: str) -> dict[str, bytes]:
    """The member of an image file's bytes, checked by decoding it.

    Raises:
        UserError: if it is none of the formats of `FORMATS`, too large, or broken.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; the limit here is the smaller one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"it is {image.width} x {image.height}; at most {MAX_PIXELS} pixels are accepted")
                image.load()
                if image.format in KEPT:
                    return {KEPT[image.format]: data}
                return png(image.convert("RGB"))
    # Broken files make Pillow raise nearly anything.
    except Exception as error:
        raise UserError(f"{where} is no image that can be read: {error}") from error


def png(image: Image.Image) -> dict[str, bytes]:
    """An image as a PNG member."""
    file = io.BytesIO()
    image.save(file, "png")
    return {"png": file.getvalue()}
