"""A region to stay out of."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_wm.goals.box import Box
from jepa_wm.goals.region import Region


@dataclass(frozen=True)
class Avoid(Region):
    """Imagined states, and the straight ways between them, must stay out of a box; arguments are `Region`'s.

    Frames are a frame skip apart, so that what moves could pass through a thin region between two of them: each way
    counts, from what is seen now on. How deep it leads into the box is added up over the steps, in standard deviations.
    Who is inside already must not go deeper, and be out after the first step, or as soon as may be.
    """

    def corners(self) -> tuple[list[float], list[float]]:
        return [x - self.margin for x in self.low], [x + self.margin for x in self.high]

    def broken(self, box: Box, seen: Tensor, points: Tensor) -> Tensor:
        starts = torch.cat([seen[:, :, None], points[:, :, :-1]], dim=2)
        first, *others = box.crossed(starts, points).split([1, points.shape[2] - 1], dim=2)
        crossed = torch.cat([first - box.depth(seen).clamp(min=0)[..., None], *others], dim=2)
        return torch.maximum(crossed, box.depth(points)).clamp(min=0).sum(dim=-1)

    def unreachable(self, gaps: Tensor) -> Tensor:
        return (gaps > 0).all(dim=-1)
