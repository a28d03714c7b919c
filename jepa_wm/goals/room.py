"""Whether regions leave any room to be in."""

from collections.abc import Sequence
from itertools import combinations
from math import inf

from jepa_wm.errors import UserError
from jepa_wm.goals.avoid import Avoid
from jepa_wm.goals.goal import Constraint
from jepa_wm.goals.keep import Keep
from jepa_wm.goals.region import Region


def check_room(constraints: Sequence[Constraint]) -> None:
    """Refuse regions that no state can heed together, whatever the goal; what several `Avoid`s cover is not found.

    Raises:
        UserError: if two `Keep`s have no room in common, or what all of them leave lies within an `Avoid`.
    """
    keeps = [each for each in constraints if isinstance(each, Keep)]
    # All boxes have room in common where each two of them have.
    for one, other in combinations(keeps, 2):
        if one.head == other.head and any(low >= high for low, high in _common([one, other]).values()):
            raise UserError(f"search: got {one} and {other}, which have no room in common; move or drop one of them")
    for avoid in (each for each in constraints if isinstance(each, Avoid)):
        kept = [keep for keep in keeps if keep.head == avoid.head]
        if _common([*kept, avoid]) == _common(kept):
            left = f"all that {' and '.join(map(str, kept))} leaves" if kept else "everything"
            raise UserError(f"search: got {avoid}, which forbids {left}; expected room outside of it: move or drop one")


def _common(regions: Sequence[Region]) -> dict[int, tuple[float, float]]:
    """The ends of what regions have in common, margins counted, in each column where it has one."""
    sides: dict[int, tuple[float, float]] = {}
    for region in regions:
        columns = range(len(region.low)) if region.columns is None else region.columns
        # Corners of another number than columns are refused where the head is known.
        for column, *ends in zip(columns, *region.corners(), strict=False):
            low, high = sides.get(column, (-inf, inf))
            sides[column] = max(low, ends[0]), min(high, ends[1])
    return {column: ends for column, ends in sides.items() if ends != (-inf, inf)}
