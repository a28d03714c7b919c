"""A region to stay in."""

from dataclasses import dataclass

from torch import Tensor

from jepa_wm.goals.box import Box
from jepa_wm.goals.region import Region


@dataclass(frozen=True)
class Keep(Region):
    """Imagined states must stay in a box; arguments are `Region`'s.

    How far each is beyond its farthest face is added up over the steps, in standard deviations. A straight way between
    two points of a box leaves it nowhere.
    """

    def corners(self) -> tuple[list[float], list[float]]:
        return [x + self.margin for x in self.low], [x - self.margin for x in self.high]

    def broken(self, box: Box, seen: Tensor, points: Tensor) -> Tensor:
        return (-box.depth(points)).clamp(min=0).sum(dim=-1)

    def unreachable(self, gaps: Tensor) -> Tensor:
        return (gaps < 0).any(dim=-1)
