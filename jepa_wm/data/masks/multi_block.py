"""I-JEPA's masks."""

import functools

import torch
from torch import Tensor

from jepa_wm.data.masks.mask import Grid, Mask, check_arguments, indices, tubes
from jepa_wm.data.rectangles import chosen, rectangles, sides
from jepa_wm.errors import UserError


class MultiBlockMask:
    """Several rectangles, each predicted by itself from a large one that none of them is part of.

    The rectangles' size is drawn once for a batch, their places for each sample. Of what is left of the large one,
    random tokens are seen, always as many for one size: what the poorest of 128 samples has left in the median. A
    sample that has less is drawn again.

    Args:
        targets: rectangles that are predicted.
        scale: range of their area as a fraction of the image.
        aspect: range of their height over their width; one random number decides on it and on the area.
        context: range of the area that may be seen, before the targets are taken out of it.
        least: tokens that are seen at least.

    Raises:
        UserError: if an argument is out of range; by `sample`, if `context` of the grid has hardly `least` tokens, or
            the targets leave none of it.

    Source: I-JEPA (arXiv 2301.08243), official code; there a rectangle is at least a token smaller than the grid, and
    the poorest sample is that of the batch on a device, which is of 128.
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
        check_arguments("MultiBlockMask", targets=targets, scale=scale, aspect=aspect, context=context)
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
        count = self._count(hidden_sides, seen_sides, height, width)
        targets, seen = self._places(hidden_sides, seen_sides, (batch, height, width), count, generator)
        keep = indices(chosen(seen, count, generator))
        predict = indices(targets.flatten(0, 1)).view(batch, self.targets, -1)
        return Mask(tubes(keep, time, height * width), tubes(predict, time, height * width))

    def _count(self, hidden: tuple[int, int], seen: tuple[int, int], height: int, width: int) -> int:
        """How many tokens are seen, of rectangles of these sides."""
        most = seen[0] * seen[1] - hidden[0] * hidden[1]  # what all have left whose targets are on top of each other
        if most < 1:
            raise UserError(
                f"MultiBlockMask: targets of scale {self.scale} leave nothing to be seen of {height} x {width} tokens; "
                "expected smaller or fewer ones"
            )
        return min(max(_poorest(self.targets, hidden, seen, height, width), self.least + 1), most)

    def _places(
        self,
        hidden: tuple[int, int],
        seen: tuple[int, int],
        shape: tuple[int, int, int],
        count: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Targets (B, G, H * W) and what is left to be seen (B, H * W), `count` or more a sample."""
        batch, height, width = shape
        targets, context = _blocks((batch, self.targets), hidden, seen, height, width, generator)
        for _ in range(self.TRIES):
            left = context & ~targets.any(dim=1)
            poor = (left.sum(dim=1) < count).nonzero()[:, 0]
            if not len(poor):
                return targets, left
            again = _blocks((len(poor), self.targets), hidden, seen, height, width, generator)
            targets[poor], context[poor] = again
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


def _blocks(
    shape: tuple[int, int],
    hidden: tuple[int, int],
    seen: tuple[int, int],
    height: int,
    width: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Targets (B, G, H * W) and a context (B, H * W) of given sides at random places, for shape (B, G)."""

    def draw(count: int, sides: tuple[int, int]) -> Tensor:
        rows, columns = (torch.full((shape[0], count), float(side)) for side in sides)
        return rectangles(rows, columns, height, width, generator).flatten(2)

    return draw(shape[1], hidden), draw(1, seen)[:, 0]


@functools.cache
def _poorest(targets: int, hidden: tuple[int, int], seen: tuple[int, int], height: int, width: int) -> int:
    """Cells that the poorest of 128 samples has left of its context: the median of 101 draws, always the same ones."""
    places = _blocks((128 * 101, targets), hidden, seen, height, width, torch.Generator().manual_seed(0))
    left = (places[1] & ~places[0].any(dim=1)).sum(dim=1)
    return int(left.view(101, 128).min(dim=1).values.median())
