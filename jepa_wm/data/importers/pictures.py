"""The bytes of an image file as a member: kept if readers know its format, else made PNG."""

import io
import warnings

from PIL import Image, UnidentifiedImageError

from jepa_wm.data.images import MAX_PIXELS, check_depth
from jepa_wm.errors import UserError

# MPO is a JPEG with more pictures behind it, as many cameras write them; readers take the first.
KEPT = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}


def image_member(data: bytes, where: str) -> dict[str, bytes]:
    """The member of an image file's bytes, checked by decoding it; of several pictures the first counts.

    Raises:
        UserError: if it is none of the formats of `FORMATS`, too large, broken, or has more than 8 bits a channel.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; the limit here is the smaller one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"it is {image.width} x {image.height}; at most {MAX_PIXELS} pixels are accepted")
                image.load()
                check_depth(image)
                return {KEPT[image.format]: data} if image.format in KEPT else png(image)
    except UnidentifiedImageError as error:
        raise UserError(f"{where} is no image that can be read; expected one of {', '.join(FORMATS)}") from error
    # Broken files make Pillow raise nearly anything.
    except Exception as error:
        raise UserError(f"{where} is no image that can be read: {error}") from error


def png(image: Image.Image) -> dict[str, bytes]:
    """An image as a PNG member, in red, green and blue.

    Raises:
        ValueError: if it has more than 8 bits a channel.
    """
    check_depth(image)
    file = io.BytesIO()
    image.convert("RGB").save(file, "png")
    return {"png": file.getvalue()}
