"""Boxes of numbers, and how deep points and straight ways lie in them."""

from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-6
"""The least way along an axis: a division by it stays finite."""


class Box(NamedTuple):
    """All points between two corners, `low` and `high` (P,), both finite."""

    low: Tensor
    high: Tensor

    def gaps(self, points: Tensor) -> Tensor:
        """How far points (..., P) are inside of the nearer face of each axis; less than 0 outside."""
        return torch.minimum(points - self.low, self.high - points)

    def depth(self, points: Tensor) -> Tensor:
        """How far points (..., P) are from the nearest face, (...); less than 0 outside."""
        return self.gaps(points).amin(dim=-1)

    def crossed(self, starts: Tensor, ends: Tensor) -> Tensor:
        """How deep straight ways between points (..., P) lead into the box, (...); 0 where they pass by.

        It is the depth at the middle of the part that lies inside: more than 0 exactly where there is such a part.
        """
        way = ends - starts
        way = torch.where(way.abs() < TINY, TINY, way)
        to_low, to_high = (self.low - starts) / way, (self.high - starts) / way
        enter = torch.minimum(to_low, to_high).amax(dim=-1).clamp(min=0)
        leave = torch.maximum(to_low, to_high).amin(dim=-1).clamp(max=1)
        middle = starts + way * ((enter + leave) / 2)[..., None]
        return torch.where(enter < leave, self.depth(middle), 0.0).clamp(min=0)
