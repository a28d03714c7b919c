"""Masks over the token grid of images and clips: what is seen, and what is to be predicted.

Counts are the same for all samples of a batch. The references instead cut each sample's list of tokens to the
batch's shortest, which favours the top left; and their rectangles never reach the last row and column.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from jepa_wm.errors import UserError

Grid = tuple[int, int, int]


class Mask(NamedTuple):
    """Token indices of a batch: `keep` (B, K) are seen, `predict` (B, G, M) are predicted, each group G by itself."""

    keep: Tensor
    predict: Tensor


class Masker(Protocol):
    """A way to draw masks."""

    def sample(self, grid: Grid, batch: int, generator: torch.Generator) -> Mask:
        """Draw masks for `batch` images or clips of a grid of (time, height, width) tokens."""
        ...


class TubeMask:
    """Rectangles over the image, the same in every frame: their union is hidden, and predicted at once.

    Every sample hides the same number of tokens, the expected area of the union: where its rectangles hide more,
    random ones of them are shown, where they hide less, random others are hidden too.

    Args:
        blocks: rectangles a clip.
        scale: area of a rectangle as a fraction of the image.
        aspect: range of a rectangle's height over its width.

    Source: V-JEPA (arXiv 2404.08471): 8 blocks of .15 and 2 of .7, full-length tubes.
    """

    def __init__(self, blocks: int = 8, scale: float = 0.15, aspect: tuple[float, float] = (0.75, 1.5)) -> None:
        self.blocks, self.scale, self.aspect = blocks, scale, aspect

    def sample(self, grid: Grid, batch: int, generator: torch.Generator) -> Mask:
        """Draw masks for `batch` clips of `grid` = (time, height, width) tokens."""
        time, height, width = grid
        rows, columns = sides(self.scale, self.aspect, (batch, self.blocks), height, width, generator)
        hidden = rectangles(rows, columns, height, width, generator).any(dim=1).flatten(1).float()
        count = min(max(round(self.hidden_fraction * height * width), 1), height * width - 1)
        order = (hidden + torch.rand(hidden.shape, generator=generator)).argsort(dim=1, descending=True)
        frames = torch.arange(time)[:, None] * (height * width)
        predict, keep = order[:, :count].sort(dim=1).values, order[:, count:].sort(dim=1).values
        return Mask((keep[:, None] + frames).flatten(1), (predict[:, None] + frames).flatten(1)[:, None])

    @property
    def hidden_fraction(self) -> float:
        """Expected area of the union of the rectangles."""
        return 1.0 - (1.0 - self.scale) ** self.blocks


class MultiBlockMask:
    """Several rectangles, each predicted by itself from a large one that none of them is part of.

    The rectangles' size is drawn once for a batch, their places for each sample. What is left of the large one is
    cut to the least that any sample has left, by leaving out random tokens.

    Args:
        targets: rectangles that are predicted.
        scale: range of their area as a fraction of the image.
        aspect: range of their height over their width.
        context: range of the area that may be seen, before the targets are taken out of it.
        least: tokens that are seen at least.

    Raises:
        UserError: by `sample`, if `context` of the grid has hardly `least` tokens.

    Source: I-JEPA (arXiv 2301.08243), official code.
    """

    TRIES = 20
    """Draws of all places after which a target is given up, as in the official code."""

    def __init__(
        self,
        targets: int = 4,
        scale: tuple[float, float] = (0.15, 0.2),
        aspect: tuple[float, float] = (0.75, 1.5),
        context: tuple[float, float] = (0.85, 1.0),
        least: int = 10,
    ) -> None:
        self.targets, self.scale, self.aspect = targets, scale, aspect
        self.context, self.least = context, least

    def sample(self, grid: Grid, batch: int, generator: torch.Generator) -> Mask:
        """Draw masks for `batch` images of `grid` = (1, height, width) tokens; of a clip, tubes."""
        time, height, width = grid
        hidden_sides, seen_sides = (
            self._side(scale, aspect, height, width, generator)
            for scale, aspect in ((self.scale, self.aspect), (self.context, (1.0, 1.0)))
        )
        if seen_sides[0] * seen_sides[1] <= self.least:
            raise UserError(
                f"MultiBlockMask: a grid of {height} x {width} tokens has no context of more than {self.least}; "
                "lower `least`, or use larger pictures or smaller patches"
            )
        targets, seen = self._places(hidden_sides, seen_sides, (batch, height, width), generator)
        count = int(seen.sum(dim=1).min())
        order = (seen.float() + torch.rand(seen.shape, generator=generator)).argsort(dim=1, descending=True)
        keep = order[:, :count].sort(dim=1).values
        predict = targets.nonzero()[:, -1].view(batch, self.targets, -1)
        frames = torch.arange(time)[:, None] * (height * width)
        return Mask((keep[:, None] + frames).flatten(1), (predict[:, :, None] + frames).flatten(2))

    def _places(
        self, hidden: tuple[int, int], seen: tuple[int, int], shape: tuple[int, int, int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Targets (B, G, H * W) and what is seen (B, H * W); samples that see too little are drawn again."""
        batch, height, width = shape

        def draw(count: int, blocks: int, sides: tuple[int, int]) -> Tensor:
            rows, columns = (torch.full((count, blocks), float(side)) for side in sides)
            return rectangles(rows, columns, height, width, generator).flatten(2)

        targets, context = draw(batch, self.targets, hidden), draw(batch, 1, seen)[:, 0]
        for _ in range(self.TRIES):
            left = context & ~targets.any(dim=1)
            poor = (left.sum(dim=1) <= self.least).nonzero()[:, 0]
            if not len(poor):
                return targets, left
            targets[poor], context[poor] = draw(len(poor), self.targets, hidden), draw(len(poor), 1, seen)[:, 0]
        # Targets on top of each other leave the most to be seen.
        targets[poor] = targets[poor, :1].expand(-1, self.targets, -1)
        return targets, context & ~targets.any(dim=1)

    @staticmethod
    def _side(
        scale: tuple[float, float], aspect: tuple[float, float], height: int, width: int, generator: torch.Generator
    ) -> tuple[int, int]:
        """Height and width of a rectangle, in tokens."""
        area = scale[0] + (scale[1] - scale[0]) * torch.rand((), generator=generator).item()
        rows, columns = sides(area, aspect, (1, 1), height, width, generator)
        return int(rows), int(columns)


class BlockwiseMask:
    """Some samples of a batch are masked, by rectangles, up to an exact share of their tokens (iBOT).

    Args:
        share: of the samples that are masked at all.
        ratio: range of the share of tokens that is hidden; the masked samples are spread evenly over it.
        aspect: range of a rectangle's height over its width.

    Source: BEiT (arXiv 2106.08254), as in DINOv2 (arXiv 2304.07193). Here the rectangles come in a random row, each of
    up to a third of what is to be hidden; those that fit are taken, and the rest is filled up by single tokens.
    """

    ROW = 32
    """Rectangles that are tried one after the other."""

    def __init__(
        self,
        share: float = 0.5,
        ratio: tuple[float, float] = (0.1, 0.5),
        aspect: tuple[float, float] = (0.3, 3.3),
    ) -> None:
        self.share, self.ratio, self.aspect = share, ratio, aspect

    def draw(self, grid: Grid, batch: int, generator: torch.Generator) -> Tensor:
        """Which tokens are hidden: bool (B, N); of a clip, tubes."""
        time, height, width = grid
        masked = round(self.share * batch)
        edges = torch.linspace(*self.ratio, masked + 1)
        u = torch.rand(masked, generator=generator)
        counts = ((edges[:-1] + (edges[1:] - edges[:-1]) * u) * height * width).round().long()
        area = torch.rand(masked, self.ROW, generator=generator) * counts[:, None] / (3 * height * width)
        rows, columns = sides(area, self.aspect, (masked, self.ROW), height, width, generator)
        drawn = rectangles(rows, columns, height, width, generator).flatten(2)
        union = drawn.cummax(dim=1).values if drawn.numel() else drawn
        fits = union.sum(dim=2) <= counts[:, None]
        hidden = (union & fits[..., None]).any(dim=1).float()
        rank = (hidden + torch.rand(hidden.shape, generator=generator)).argsort(dim=1, descending=True).argsort(dim=1)
        chosen = torch.zeros(batch, height * width, dtype=torch.bool)
        chosen[torch.randperm(batch, generator=generator)[:masked]] = rank < counts[:, None]
        return chosen.repeat(1, time)


def sides(
    scale: float | Tensor,
    aspect: tuple[float, float],
    shape: tuple[int, int],
    height: int,
    width: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Heights and widths, in tokens, of rectangles of an area (a fraction of the grid) and a random shape."""
    low, high = aspect
    ratio = low * (high / low) ** torch.rand(shape, generator=generator)
    area = torch.as_tensor(scale) * height * width
    return (area * ratio).sqrt().round().clamp(1, height), (area / ratio).sqrt().round().clamp(1, width)


def rectangles(rows: Tensor, columns: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Rectangles of given sides (B, R) at random places: bool (B, R, H, W), every cell within reach."""
    u = torch.rand(2, *rows.shape, 1, generator=generator)
    rows, columns = rows[..., None], columns[..., None]
    top, left = (u[0] * (height - rows + 1)).floor(), (u[1] * (width - columns + 1)).floor()
    y, x = torch.arange(height), torch.arange(width)
    inside_y, inside_x = (y >= top) & (y < top + rows), (x >= left) & (x < left + columns)
    return inside_y[..., :, None] & inside_x[..., None, :]
