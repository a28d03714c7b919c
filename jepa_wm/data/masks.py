"""Masks over the token grid of a clip."""

from typing import NamedTuple

import torch
from torch import Tensor


class Mask(NamedTuple):
    """Token indices of a batch: `keep` (B, K) are seen, `predict` (B, M) are not; together all N."""

    keep: Tensor
    predict: Tensor


class TubeMask:
    """Rectangles over the image, the same in every frame: the union is hidden.

    Every sample hides the same number of tokens, the expected area of the union: where its
    rectangles hide more, random ones of them are shown, where they hide less, random others are
    hidden too. The references instead cut each sample's index list to the batch's shortest, which
    favours the top left; and their rectangles never reach the last row and column.

    Args:
        blocks: rectangles a clip.
        scale: area of a rectangle as a fraction of the image.
        aspect: range of a rectangle's height over its width.

    Source: V-JEPA (arXiv 2404.08471): 8 blocks of .15 and 2 of .7, full-length tubes.
    """

    def __init__(self, blocks: int = 8, scale: float = 0.15, aspect: tuple[float, float] = (0.75, 1.5)) -> None:
        self.blocks, self.scale, self.aspect = blocks, scale, aspect

    def sample(self, grid: tuple[int, int, int], batch: int, generator: torch.Generator) -> Mask:
        """Draw masks for `batch` clips of `grid` = (time, height, width) tokens."""
        time, height, width = grid
        hidden = self._covered(height, width, batch, generator).flatten(1).float()
        count = min(max(round(self.hidden_fraction * height * width), 1), height * width - 1)
        order = (hidden + torch.rand(hidden.shape, generator=generator)).argsort(dim=1, descending=True)
        frames = torch.arange(time)[:, None] * (height * width)
        predict, keep = order[:, :count].sort(dim=1).values, order[:, count:].sort(dim=1).values
        return Mask((keep[:, None] + frames).flatten(1), (predict[:, None] + frames).flatten(1))

    @property
    def hidden_fraction(self) -> float:
        """Expected area of the union of the rectangles."""
        return 1.0 - (1.0 - self.scale) ** self.blocks

    def _covered(self, height: int, width: int, batch: int, generator: torch.Generator) -> Tensor:
        """Whether each cell lies in a rectangle: bool (B, H, W)."""
        low, high = self.aspect
        u = torch.rand(3, batch, self.blocks, 1, generator=generator)
        aspect = low * (high / low) ** u[0]
        rows = (self.scale * height * width * aspect).sqrt().round().clamp(1, height)
        columns = (self.scale * height * width / aspect).sqrt().round().clamp(1, width)
        top, left = (u[1] * (height - rows + 1)).floor(), (u[2] * (width - columns + 1)).floor()
        y, x = torch.arange(height), torch.arange(width)
        inside_y, inside_x = (y >= top) & (y < top + rows), (x >= left) & (x < left + columns)
        return (inside_y[..., :, None] & inside_x[..., None, :]).any(dim=1)
