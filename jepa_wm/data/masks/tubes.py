"""V-JEPA's masks."""

import torch

from jepa_wm.data.masks.mask import Grid, Mask, check_arguments, indices, tubes
from jepa_wm.data.rectangles import chosen, mean_union, sides, union
from jepa_wm.errors import UserError


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
        check_arguments("TubeMask", blocks=blocks, scale=(scale, scale), aspect=aspect)
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
        keep, predict = (tubes(indices(cells), time, height * width) for cells in (~hidden, hidden))
        return Mask(keep, predict[:, None])
