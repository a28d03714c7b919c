"""Whether regions leave any room to be in."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import inf

import torch

from jepa_wm.errors import UserError
from jepa_wm.goals.avoid import Avoid
from jepa_wm.goals.goal import Constraint
from jepa_wm.goals.keep import Keep
from jepa_wm.goals.region import Region

PIECES = 1000
"""Boxes at most that `Avoid`s may cut the room into; where there are more, room is taken for granted."""

NAMED = 3
"""Regions at most that an error names."""

Sides = dict[int, tuple[float, float]]
"""A box: its ends in each column where it has one."""

ENDLESS = -inf, inf


def check_room(constraints: Sequence[Constraint]) -> None:
    """Refuse regions that no state can heed together, whatever the goal; each head is looked at by itself.

    A face that two regions have in common is no room: what is imagined never lies on it. What many `Avoid`s of many
    columns cover may not be found, see `PIECES`.

    Raises:
        UserError: if two `Keep`s have no room in common, or all that they leave lies within `Avoid`s.
    """
    keeps = [each for each in constraints if isinstance(each, Keep)]
    # All boxes have room in common where each two of them have.
    for one, other in combinations(keeps, 2):
        if one.head == other.head and any(low >= high for low, high in _common([one, other]).values()):
            raise UserError(f"search: got {one} and {other}, which have no room in common; move or drop one of them")
    avoids = [each for each in constraints if isinstance(each, Avoid)]
    for head in dict.fromkeys(avoid.head for avoid in avoids):
        kept = [keep for keep in keeps if keep.head == head]
        covering = _covering([avoid for avoid in avoids if avoid.head == head], _common(kept))
        if covering:
            forbid = "forbids" if len(covering) == 1 else "together forbid"
            left = f"all that {_named(kept)} leaves" if kept else "everything"
            raise UserError(
                f"search: got {_named(covering)}, which {forbid} {left}; expected room outside: move or drop one"
            )


def _named(regions: Sequence[Region]) -> str:
    more = [f"{len(regions) - NAMED} more"] if len(regions) > NAMED else []
    return " and ".join([*map(str, regions[:NAMED]), *more])


def _common(regions: Sequence[Region]) -> Sides:
    """What regions have in common, margins counted."""
    sides: Sides = {}
    for region in regions:
        columns = range(len(region.low)) if region.columns is None else region.columns
        # What is read has single precision: ends that are one but for what a margin's sum rounds to are the same.
        corners = (torch.tensor(corner, dtype=torch.float32).tolist() for corner in region.corners())
        # Corners of another number than columns are refused where the head is known.
        for column, *ends in zip(columns, *corners, strict=False):
            low, high = sides.get(column, ENDLESS)
            sides[column] = max(low, ends[0]), min(high, ends[1])
    return {column: ends for column, ends in sides.items() if ends != ENDLESS}


def _covering(avoids: Sequence[Avoid], room: Sides) -> list[Avoid]:
    """Those of the regions that leave nothing of a room, one after another; none where something may be left."""
    boxes = [(avoid, _common([avoid])) for avoid in avoids]
    left, covering = [room], []
    # First what covers most: it leaves the fewest pieces.
    for avoid, box in sorted(boxes, key=lambda each: len(list(_outside(each[1], room)))):
        rest = [piece for whole in left for piece in _outside(box, whole)]
        if rest != left:
            covering.append(avoid)
        if not rest:
            return covering
        if len(rest) > PIECES:
            break
        left = rest
    return []


def _outside(box: Sides, room: Sides) -> Iterator[Sides]:
    """Boxes that make up what of a room is outside of another box."""
    inside = {column: _overlap(ends, room.get(column, ENDLESS)) for column, ends in box.items()}
    if any(low >= high for low, high in inside.values()):
        yield room
        return
    for column, (low, high) in inside.items():
        first, last = room.get(column, ENDLESS)
        if first < low:
            yield {**room, column: (first, low)}
        if high < last:
            yield {**room, column: (high, last)}
        room = {**room, column: (low, high)}


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return max(one[0], other[0]), min(one[1], other[1])
