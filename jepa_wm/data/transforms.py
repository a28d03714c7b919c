"""Transforms of pixels: torchvision's v2, drawn from a seed, and several crops of one picture.

Any transform of `torchvision.transforms.v2` will do. They take uint8 (…, C, H, W) and draw once for all
leading dimensions, so the frames of a clip are cropped, flipped and coloured alike.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from jepa_wm.data.randomness import generator

Transform = Callable[[Tensor], Tensor | dict[str, Tensor]]
"""Pixels uint8 (…, C, H, W) -> the same, or several kinds of views by name."""


def seeded(transform: Transform, pixels: Tensor, *seeds: int) -> Tensor | dict[str, Tensor]:
    """What a transform makes of pixels, as a function of the seeds; torch's own generator is left as it was."""
    own = torch.default_generator
    before = own.get_state()
    # Not torch.manual_seed, which would seed the accelerators as well.
    own.manual_seed(int(generator("transform", *seeds).integers(2**63)))
    try:
        return transform(pixels)
    finally:
        own.set_state(before)


class Beside:
    """Pixels as one transform makes them, and beside them what another makes of the same picture.

    Args:
        base: for `pixels`; None leaves them as they are.
        other: from pixels to further members of the sample by name.
    """

    def __init__(self, base: Callable[[Tensor], Tensor] | None, other: Callable[[Tensor], dict[str, Tensor]]) -> None:
        self.base, self.other = base, other

    def __call__(self, pixels: Tensor) -> dict[str, Tensor]:
        """The members of a sample, of uint8 (…, C, H, W)."""
        return {"pixels": pixels if self.base is None else self.base(pixels), **self.other(pixels)}


class MultiCrop:
    """Large and small crops of one picture or clip, each flipped and coloured on its own.

    Called with uint8 (…, C, H, W) it gives `views` uint8 (2, …, C, size, size), the global ones, and, if
    there are any, `local_views` uint8 (V, …, C, local_size, local_size).

    Args:
        size: of a global view, in pixels.
        local_size: of a local one.
        local_views: local views V.
        scale: range of a global view's area, as a share of the picture's.
        local_scale: range of a local one's.
        colours: whether views are coloured, blurred and solarised as in DINO.
        flip: whether half of the views are mirrored.

    Source: DINO (arXiv 2104.14294, appendix C; official code); DINOv2's scales are (.32, 1) and (.05, .32), as here.
    """

    def __init__(
        self,
        size: int = 224,
        local_size: int = 96,
        local_views: int = 8,
        scale: tuple[float, float] = (0.32, 1.0),
        local_scale: tuple[float, float] = (0.05, 0.32),
        colours: bool = True,
        flip: bool = True,
    ) -> None:
        self.size, self.local_size, self.local_views = size, local_size, local_views
        self.scale, self.local_scale, self.colours, self.flip = scale, local_scale, colours, flip
        # The two global views differ in blur and solarisation.
        self._global = [_view(size, scale, colours, flip, *odds) for odds in ((1.0, 0.0), (0.1, 0.2))]
        self._local = _view(local_size, local_scale, colours, flip, 0.5, 0.0)

    def __repr__(self) -> str:
        names = ("size", "local_size", "local_views", "scale", "local_scale", "colours", "flip")
        return f"MultiCrop({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def __call__(self, pixels: Tensor) -> dict[str, Tensor]:
        """The views of uint8 (…, C, H, W)."""
        views = {"views": torch.stack([view(pixels) for view in self._global])}
        if self.local_views:
            views["local_views"] = torch.stack([self._local(pixels) for _ in range(self.local_views)])
        return views


def _view(
    size: int, scale: tuple[float, float], colours: bool, flip: bool, blur: float, solarise: float
) -> v2.Transform:
    crop = [
        v2.RandomResizedCrop(size, scale=scale, interpolation=v2.InterpolationMode.BICUBIC),
        v2.RandomHorizontalFlip(0.5 if flip else 0.0),
    ]
    if not colours:
        return v2.Compose(crop)
    return v2.Compose(
        [
            *crop,
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(9, sigma=(0.1, 2.0))], p=blur),
            v2.RandomSolarize(128, p=solarise),
        ]
    )
