"""iBOT's masks."""

import numpy as np
import torch
from torch import Tensor

from jepa_wm.data.masks.mask import Grid, check_arguments
from jepa_wm.data.rectangles import chosen, rectangles, sides


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
        check_arguments("BlockwiseMask", share=(share, share), ratio=ratio, aspect=aspect)
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
