"""Sentences from the state: eighteen regions with names, and captions that are always true.

Regions belong to the default world: each room is cut 3 x 3 over the area that the disc's centre can reach.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jepa_wm.envs.factors import COLORS, FACTORS, default_values
from jepa_wm.envs.geometry import BORDER, geometry

ROOMS = ("left", "right")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "centre", "right")

_WORLD = geometry(default_values(FACTORS, 1))
_MARGIN = BORDER + float(_WORLD.radius[0])
_WALL = 0.5 - float(_WORLD.half[0] + _WORLD.radius[0])

# A disc of the default size has no size word, so that "small" and "large" stay beyond dispute.
_SMALL, _LARGE = 0.045, 0.055
_THIN, _THICK = 0.055, 0.065
NUMBERS = ("no", "one", "two", "three")
_COLOR_WORDS = {value: name for name, value in COLORS.items()}


class Region(NamedTuple):
    """A ninth of a room: room left or right; row top, middle or bottom; column left, centre or right."""

    room: str
    row: str
    column: str

    @property
    def phrase(self) -> str:
        """The region's name in a sentence, e.g. "the top left corner of the right room"."""
        if self.row == "middle":
            place = "middle" if self.column == "centre" else f"{self.column} side"
        else:
            place = self.row if self.column == "centre" else f"{self.row} {self.column} corner"
        return f"the {place} of the {self.room} room"

    def contains(self, state: np.ndarray) -> np.ndarray:
        """Whether each state (..., 2) is in this region: bool (...,)."""
        return region_of(state) == REGIONS.index(self)


REGIONS: tuple[Region, ...] = tuple(Region(a, b, c) for a in ROOMS for b in ROWS for c in COLUMNS)
"""All regions; an index into this tuple is a region's number."""


def region_of(state: np.ndarray) -> np.ndarray:
    """The number in `REGIONS` of each state (..., 2): int64 (...,). A doorway belongs to the nearer room."""
    state = np.asarray(state)
    x, y = state[..., 0], state[..., 1]
    right = x >= 0.5
    column = _third(np.where(right, x - (1 - _WALL), x - _MARGIN), _WALL - _MARGIN)
    row = _third(y - _MARGIN, 1 - 2 * _MARGIN)
    return right * 9 + row * 3 + column


def middle_of(region: np.ndarray, factors: Mapping[str, np.ndarray]) -> np.ndarray:
    """The middle (E, 2) of regions by number (E,), or of what is nearest to it where the disc can stand.

    Args:
        region: indices into `REGIONS`.
        factors: the values of E environments by name: a thick wall or a wide disc reaches into what was a middle.
    """
    room, row, column = np.unravel_index(region, (len(ROOMS), len(ROWS), len(COLUMNS)))
    across, down = (column + 0.5) / 3 * (_WALL - _MARGIN), (row + 0.5) / 3 * (1 - 2 * _MARGIN)
    world = geometry(factors)
    reach = world.half + world.radius
    x = np.where(room == 0, np.minimum(_MARGIN + across, 0.5 - reach), np.maximum(1 - _WALL + across, 0.5 + reach))
    return np.stack([x, _MARGIN + down], axis=-1)


def caption(state: np.ndarray, factors: Mapping[str, Any], rng: np.random.Generator) -> str:
    """A sentence that names the region of `state` (2,) and, mostly, the disc's looks.

    Args:
        state: the disc's centre.
        factors: the values of one environment by name, as in `info["factors"]`.
        rng: chooses the sentence.
    """
    place = REGIONS[int(region_of(state))].phrase
    color = _color_word(factors)
    size = _size_word(factors)
    disc = " ".join(word for word in (size, color, "disc") if word)
    plain = " ".join(word for word in (color, "disc") if word)
    sentences = (
        place,
        f"in {place}",
        f"the disc is in {place}",
        f"a {plain} in {place}".replace("a orange", "an orange"),
        f"a {disc} in {place}".replace("a orange", "an orange"),
        f"the {disc} is in {place}",
        f"{place} holds a {disc}".replace("a orange", "an orange"),
        f"there is a {disc} in {place}".replace("a orange", "an orange"),
    )
    return sentences[rng.integers(len(sentences))]


def scene(factors: Mapping[str, Any], rng: np.random.Generator) -> str:
    """What a sentence may add about wall, doors and floors, each in one case of two; "" where nothing is added.

    Args:
        factors: the values of one environment by name, as in `info["factors"]`.
        rng: chooses what is said.
    """
    wall = " ".join(word for word in (_thickness_word(factors), _color_word(factors, "wall_color"), "wall") if word)
    number, height = int(factors["door_number"]), _height_word(factors)
    doors = f"the door is {height}" if number == 1 else f"each of {NUMBERS[number]} doors is {height} in its part"
    left, right = (_color_word(factors, f"floor_color_{room}") for room in ROOMS)
    floors = f"the floor is {left} on the left and {right} on the right" if left and right else ""
    said = [part for part in (f"the rooms have a {wall} between them", doors, floors) if part and rng.random() < 0.5]
    return "".join(f", {part}" for part in said)


def captions(
    states: np.ndarray, factors: Mapping[str, Any], rng: np.random.Generator, scenes: bool = False
) -> list[str]:
    """A caption for each of the states (T, 2) of one episode; with `scenes`, also of the rooms."""
    return [caption(state, factors, rng) + (scene(factors, rng) if scenes else "") for state in states]


def _third(offset: np.ndarray, extent: float) -> np.ndarray:
    return np.clip(np.floor(offset * 3 / extent), 0, 2).astype(np.int64)


def _color_word(factors: Mapping[str, Any], factor: str = "agent_color") -> str:
    """The colour's name, or nothing: a colour without a name is not called by a similar one's."""
    red, green, blue = (int(part) for part in factors[factor])
    return _COLOR_WORDS.get((red, green, blue), "")


def _size_word(factors: Mapping[str, Any]) -> str:
    size = float(factors["agent_size"])
    return "small" if size < _SMALL else "large" if size > _LARGE else ""


def _thickness_word(factors: Mapping[str, Any]) -> str:
    thickness = float(factors["wall_thickness"])
    return "thin" if thickness < _THIN else "thick" if thickness > _THICK else ""


def _height_word(factors: Mapping[str, Any]) -> str:
    return ("high up", "halfway", "low down")[int(np.digitize(float(factors["door_position"]), (0.42, 0.58)))]
