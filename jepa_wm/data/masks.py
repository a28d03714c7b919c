"""Masks over the token grid of images and clips: what is seen, and what is to be predicted.

Counts are the same for all samples of a batch. The references instead cut each sample's list of tokens to the
batch's shortest, which favours the top left; and I-JEPA's rectangles never reach the last row and column there.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from jepa_wm.data.rectangles import chosen, mean_union, rectangles, sides, union
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

    Every sample hides the same number of tokens, that which the rectangles cover on average: where a sample's cover
    more, random ones of them are shown, where they cover less, random others are hidden too.

    Args:
        blocks: rectangles a clip.
        scale: area of a rectangle as a fraction of the image.
        aspect: range of a rectangle's height over its width, which is uniform in it.

    Raises:
        UserError: if an argument is out of range; by `sample`, if the grid has a single token a frame.

    Source: V-JEPA (arXiv 2404.08471), official code: 8 blocks of .15 and 2 of .7, full-length tubes. There one aspect
    is drawn for all rectangles of a batch; here each has its own, and so all batches have the same shapes.
    """

    def __init__(self, blocks: int = 8, scale: float = 0.15, aspect: tuple[float, float] = (0.75, 1.5)) -> None:
        _check("TubeMask", blocks=blocks, scale=(scale, scale), aspect=aspect)
        self.blocks, self.scale, self.aspect = blocks, scale, aspect

    def sample(self, grid: Grid, batch: int, generator: torch.Generator) -> Mask:
        """Draw masks for `batch` clips of `grid` = (time, height, width) tokens."""
        time, height, width = grid
        if height * width < 2:
            raise UserError("TubeMask: got frames of one token; expected two at least, one seen and one hidden")
        area, (low, high) = int(self.scale * height * width), self.aspect
        aspect = low + (high - low) * torch.rand(batch, self.blocks, generator=generator)
        covered = union(*sides(area, aspect, height, width), height, width, generator)
        count = round(mean_union(self.blocks, area, (low, high), height, width))
        hidden = chosen(covered, min(max(count, 1), height * width - 1), generator)
        keep, predict = (_tubes(_indices(cells), time, height * width) for cells in (~hidden, hidden))
        return Mask(keep, predict[:, None])


class MultiBlockMask:
    """Several rectangles, each predicted by itself from a large one that none of them is part of.

    The rectangles' size is drawn once for a batch, their places for each sample. What is left of the large one is
    cut to the least that any sample has left, by leaving out random tokens.

    Args:
        targets: rectangles that are predicted.
        scale: range of their area as a fraction of the image.
        aspect: range of their height over their width; one random number decides on it and on the area.
        context: range of the area that may be seen, before the targets are taken out of it.
        least: tokens that are seen at least.

    Raises:
        UserError: if an argument is out of range; by `sample`, if `context` of the grid has hardly `least` tokens, or
            the targets leave none of it.

    Source: I-JEPA (arXiv 2301.08243), official code; there a rectangle is at least a token smaller than the grid.
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
        _check("MultiBlockMask", targets=targets, scale=scale, aspect=aspect, context=context)
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
        left = int(seen.sum(dim=1).min())
        if not left:
            raise UserError(
                f"MultiBlockMask: targets of scale {self.scale} leave nothing to be seen of {height} x {width} tokens; "
                "expected smaller or fewer ones"
            )
        keep = _indices(chosen(seen, left, generator))
        predict = _indices(targets.flatten(0, 1)).view(batch, self.targets, -1)
        return Mask(_tubes(keep, time, height * width), _tubes(predict, time, height * width))

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
        u = torch.rand((), generator=generator)
        area = int((scale[0] + (scale[1] - scale[0]) * u.item()) * height * width)
        rows, columns = sides(area, aspect[0] + (aspect[1] - aspect[0]) * u, height, width)
        return int(rows), int(columns)


class BlockwiseMask:
    """Some samples of a batch are masked, by rectangles, up to an exact share of their tokens (iBOT).

    Args:
        share: of the samples that are masked at all.
        ratio: range of the share of tokens that is hidden; the masked samples are spread evenly over it.
        aspect: range of a rectangle's height over its width.

    Raises:
        UserError: if an argument is out of range.

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
        _check("BlockwiseMask", share=(share, share), ratio=ratio, aspect=aspect)
        self.share, self.ratio, self.aspect = share, ratio, aspect

    def draw(self, grid: Grid, batch: int, generator: torch.Generator) -> Tensor:
        """Which tokens are hidden: bool (B, N); of a clip, tubes."""
        time, height, width = grid
        masked = round(self.share * batch)
        edges = torch.linspace(*self.ratio, masked + 1)
        u = torch.rand(masked, generator=generator)
        counts = ((edges[:-1] + (edges[1:] - edges[:-1]) * u) * height * width).round().long()
        area = torch.rand(masked, self.ROW, generator=generator) * counts[:, None] / 3
        low, high = self.aspect
        aspect = low * (high / low) ** torch.rand(masked, self.ROW, generator=generator)
        covered = rectangles(*sides(area, aspect, height, width), height, width, generator).flatten(2).numpy()
        first = np.where(covered, np.arange(self.ROW, dtype=np.uint8)[:, None], np.uint8(self.ROW)).min(axis=1)
        # The rectangle of the first cell too many, and all after it, do not fit.
        misfit = np.take_along_axis(np.sort(first, axis=1), counts[:, None].clamp(max=height * width - 1).numpy(), 1)
        hidden = torch.zeros(batch, height * width, dtype=torch.bool)
        whose = torch.randperm(batch, generator=generator)[:masked]
        hidden[whose] = chosen(torch.from_numpy(first < misfit), counts[:, None], generator)
        return hidden.repeat(1, time)


def _check(mask: str, aspect: tuple[float, float], **arguments: float | tuple[float, float]) -> None:
    """Refuse counts below 1, shares beyond 0 to 1, and ranges that fall."""
    if not 0.0 < aspect[0] <= aspect[1]:
        raise UserError(f"{mask}.aspect: got {aspect}; expected a range above 0, its lower end first")
    for name, value in arguments.items():
        if not isinstance(value, tuple | list):
            if value < 1:
                raise UserError(f"{mask}.{name}: got {value}; expected 1 at least")
        elif not 0.0 <= value[0] <= value[1] <= 1.0:
            raise UserError(f"{mask}.{name}: got {value}; expected shares between 0 and 1, the lower first")


def _indices(cells: Tensor) -> Tensor:
    """Ascending indices (B, M) of the cells that are set in bool (B, N), as many in each row."""
    places = torch.from_numpy(np.flatnonzero(cells.numpy())).view(len(cells), -1)
    return places - torch.arange(len(cells))[:, None] * cells.shape[1]


def _tubes(cells: Tensor, time: int, area: int) -> Tensor:
    """Indices (..., M) of cells of a frame -> (..., time * M), the same cells in every frame."""
    return (cells[..., None, :] + torch.arange(time)[:, None] * area).flatten(-2)
