"""From pictures as they are to pixels as an encoder wants them."""

from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import InterpolationMode

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Preprocessing:
    """The size an encoder was trained at, and the colours it takes for nought and one.

    Called with uint8 (…, 3, H, W) of any size it gives uint8 (…, 3, size, size): the shorter side is resized to
    `size / crop`, and the middle cut out. The encoder itself subtracts mean and divides by std.

    Args:
        size: side in pixels.
        crop: share of the resized picture's shorter side that is kept; 0 squeezes the whole picture into a square.
        interpolation: "bilinear" or "bicubic".
        mean: of each channel, in units of full white.
        std: of each channel, in the same units.
    """

    def __init__(
        self,
        size: int = 224,
        crop: float = 1.0,
        interpolation: str = "bicubic",
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        self.size, self.crop, self.interpolation = size, crop, interpolation
        self.mean, self.std = tuple(mean), tuple(std)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 (…, 3, H, W) -> uint8 (…, 3, size, size)."""
        mode = InterpolationMode(self.interpolation)
        if not self.crop:
            return v2.functional.resize(pixels, [self.size, self.size], mode, antialias=True)
        resized = v2.functional.resize(pixels, [round(self.size / self.crop)], mode, antialias=True)
        return v2.functional.center_crop(resized, [self.size, self.size])
