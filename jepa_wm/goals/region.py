"""Regions of a state: what staying out of one and staying in one have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_wm.contracts import Future, FutureCost
from jepa_wm.errors import UserError
from jepa_wm.goals.box import Box
from jepa_wm.goals.goal import Constraint, Goal, Model
from jepa_wm.goals.readout import Readout

FAR = 1e4
"""Standard deviations from the mean at which a box ends that has no end."""


@dataclass(frozen=True)
class Region(Constraint, ABC):
    """A box in what a state head reads, that imagined states must heed.

    Args:
        low: its lower corner in the environment's units, a number a column; minus infinity where it has no end.
        high: its upper corner.
        columns: which of the head's numbers; None for all.
        head: name of the head.
        margin: how far states must be from it, on the allowed side, in the same units: for what the head misreads.

    Raises:
        UserError: if a low end is not below its high end, the corners differ in length, or the margin is below 0.
    """

    low: Sequence[float]
    high: Sequence[float]
    columns: Sequence[int] | None = None
    head: str = "state"
    margin: float = 0.0

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not all(a < b for a, b in zip(*self.corners(), strict=True)):
            raise UserError(
                f"{self._name}: got low {list(self.low)}, high {list(self.high)} and margin {self.margin}; expected as "
                "many numbers, each low one below its high one, with room for the margin"
            )
        if not self.margin >= 0:
            raise UserError(f"{self._name}: got margin {self.margin}; expected 0 or more")

    def violation(self, model: Model, goal: Goal) -> FutureCost:
        read, forbidden = self._read(model), self.forbids(model, goal)
        if forbidden is not None and forbidden.any():
            first, places = int(forbidden.nonzero()[0, 0]), self._places(read, model, goal)
            assert places is not None
            raise UserError(
                f"{self._name}: {int(forbidden.sum())} of {len(places)} goals are where the constraint forbids to be, "
                f"such as number {first} at {[round(x, 3) for x in places[first].tolist()]}, with low "
                f"{list(self.low)} and high {list(self.high)}; move the goals or the region"
            )
        box = _box(read, *self.corners())

        def broken(future: Future) -> Tensor:
            points = read(future.latents)
            seen = points[:, :, 0] if future.seen is None else read(future.seen)[:, None].expand_as(points[:, :, 0])
            return self.broken(box, seen, points)

        return broken

    def forbids(self, model: Model, goal: Goal) -> Tensor | None:
        read = self._read(model)
        places = self._places(read, model, goal)
        if places is None:
            return None
        return self.unreachable(_box(read, self.low, self.high).gaps(read.standard(places)))

    @abstractmethod
    def corners(self) -> tuple[list[float], list[float]]:
        """The corners, with the margin."""

    @abstractmethod
    def broken(self, box: Box, seen: Tensor, points: Tensor) -> Tensor:
        """By how much states (E, S, K, P) that follow the one of now (E, S, P) break it, (E, S)."""

    @abstractmethod
    def unreachable(self, gaps: Tensor) -> Tensor:
        """Whether points so far (E, P) inside of the box's faces are forbidden, (E,); NaN where nothing is known."""

    def _read(self, model: Model) -> Readout:
        read = Readout(model, self.head, self.columns, self._name)
        if len(self.low) != read.width:
            raise UserError(
                f"{self._name}: got corners of {len(self.low)} numbers; expected {read.width}, for columns "
                f"{read.columns} of '{self.head}'"
            )
        return read

    def _places(self, read: Readout, model: Model, goal: Goal) -> Tensor | None:
        """The region's columns of what the head reads where the goal is met."""
        met = goal.where(model, self.head)
        return None if met is None else met[:, read.columns]

    @property
    def _name(self) -> str:
        return type(self).__name__


def _box(read: Readout, low: Sequence[float], high: Sequence[float]) -> Box:
    return Box(*(read.standard(torch.tensor(list(corner))).clamp(-FAR, FAR) for corner in (low, high)))
