"""Ways round the block of Push-T: a ring of places at arm's length from it, seen from the block.

E blocks at once, L places on the ring. Points are (E, …, 2) in the block's own frame, in which it never turns.
"""

from typing import NamedTuple

import numpy as np

from jepa_wm.envs.tee import BORDER, OUTLINE, RADIUS, SIDE, signed_distance, to_world

CLEARANCE = 6 / SIDE
"""How far from the block the pusher goes round it, edge to edge."""

FAR = 100.0
"""The length of a way that there is not."""

_SPACING, _SAMPLES = 0.3, 12


class Ring(NamedTuple):
    """A ring in thicknesses of the bar: `touch` (L, 2) on the outline, `away` (L, 2) out of it, `levers` (L,) of a push
    there about the centre of mass; corners have both directions in `away`, and no push: `edge` (L,) is False."""

    touch: np.ndarray
    away: np.ndarray
    levers: np.ndarray
    edge: np.ndarray

    def places(self, unit: np.ndarray, gap: float) -> np.ndarray:
        """The pusher's centre (E, L, 2) with a gap between it and bars `unit` (E,) thick."""
        return self.touch * unit[:, None, None] + self.away * (RADIUS + gap)


def _ring() -> Ring:
    touch, away, edge = [], [], []
    corners = [np.roll(OUTLINE, shift, axis=0) for shift in (1, 0, -1)]
    for before, corner, after in zip(*corners, strict=True):
        out = [_outwards(before, corner), _outwards(corner, after)]
        if _outwards(before, corner) @ (after - corner) < 0:
            touch.append(corner)
            away.append(out[0] + out[1])
            edge.append(False)
        length = np.abs(after - corner).max()
        for share in np.linspace(0, length, round(length / _SPACING) + 1)[1:-1]:
            touch.append(corner + share * (after - corner) / length)
            away.append(out[1])
            edge.append(True)
    points, directions = np.array(touch), np.array(away)
    levers = points[:, 1] * directions[:, 0] - points[:, 0] * directions[:, 1]
    return Ring(points, directions, levers, np.array(edge))


def _outwards(corner: np.ndarray, after: np.ndarray) -> np.ndarray:
    along = (after - corner) / np.abs(after - corner).max()
    return np.array([along[1], -along[0]])


RING = _ring()


class Ways(NamedTuple):
    """Shortest ways from a point along the ring: to each place, `lengths` (E, L) and where they `enter` it (E, L)."""

    lengths: np.ndarray
    enter: np.ndarray


def ways(points: np.ndarray, states: np.ndarray, unit: np.ndarray) -> Ways:
    """The ways from `points` (E, 2), past blocks at `states` (E, 8) with bars `unit` (E,) thick; what leads out of
    the world is far."""
    places = RING.places(unit, CLEARANCE)
    inside = np.abs(to_world(places, states[:, None]) + states[:, None, 2:4] - 0.5).max(-1) <= 0.5 - BORDER - RADIUS
    following = np.roll(places, -1, axis=1)
    steps = np.sqrt(((following - places) ** 2).sum(-1)) + FAR * ~(inside & np.roll(inside, -1, axis=1))
    ahead = np.cumsum(steps, 1) - steps
    forth = (ahead[:, None, :] - ahead[:, :, None]) % steps.sum(1)[:, None, None]
    along = np.minimum(forth, forth.swapaxes(1, 2))
    reach = np.sqrt(((places - points[:, None]) ** 2).sum(-1))
    reach += FAR * ~(inside & visible(points, places, unit))
    # Of ways of the same length the one that enters the ring farther on, or it would stop at each place.
    total = 0.98 * reach[:, :, None] + along
    return Ways(total.min(1), total.argmin(1))


def visible(points: np.ndarray, others: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Whether the pusher passes in a straight line from `points` (E, 2) to each of `others` (E, L, 2): bool (E, L). One
    that begins or ends closer to the block than is safe must not come closer still."""
    thick = unit[:, None]
    safe = np.full((len(points), 1), RADIUS + 0.6 * CLEARANCE)
    ends = [signed_distance(end[..., 0], end[..., 1], thick) for end in (points[:, None], others)]
    safe = np.minimum(safe, np.minimum(*ends) - 1e-4)
    share = np.linspace(0, 1, _SAMPLES)[:, None]
    between = points[:, None, None] + share * (others[:, :, None] - points[:, None, None])
    return signed_distance(between[..., 0], between[..., 1], thick[..., None]).min(-1) >= safe
