"""Factors of variation: what may differ between two worlds, which values are drawn and which are held out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jepa_wm.errors import UserError

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 200, 30),
    "purple": (140, 50, 180),
    "orange": (245, 130, 30),
    "cyan": (30, 190, 210),
    "pink": (240, 110, 180),
    "black": (20, 20, 20),
    "grey": (110, 110, 110),
    "brown": (110, 70, 40),
    "navy": (25, 35, 90),
    "teal": (0, 90, 90),
    "maroon": (100, 15, 40),
    "white": (245, 245, 245),
    "ivory": (250, 240, 215),
    "silver": (205, 205, 210),
    "sky": (200, 225, 245),
    "mint": (205, 240, 215),
    "lavender": (225, 210, 245),
}
"""Every colour that has a name, as 8-bit RGB."""

SPLITS = ("sample", "held_out")


class Factor(Protocol):
    """One factor: its default, its two disjoint sets of values, and the check of a value given by the user."""

    @property
    def default(self) -> Any:
        """The value that it has unless another is asked for."""
        ...

    def draw(self, split: str, rng: np.random.Generator) -> Any:
        """A value of the set named `split`, one of `SPLITS`."""
        ...

    def parse(self, name: str, value: Any) -> Any:
        """`value` in its plain form, or `UserError`."""
        ...


@dataclass(frozen=True)
class Number:
    """A number in an interval; lengths are fractions of the side."""

    default: float
    sample: tuple[float, float]
    held_out: tuple[float, float]
    allowed: tuple[float, float]

    def draw(self, split: str, rng: np.random.Generator) -> float:
        return float(rng.uniform(*getattr(self, split)))

    def parse(self, name: str, value: Any) -> float:
        low, high = self.allowed
        if not _is_number(value) or not low <= value <= high:
            raise _refused(name, value, f"a number in [{low}, {high}]")
        return float(value)


@dataclass(frozen=True)
class Count:
    """A whole number."""

    default: int
    sample: tuple[int, ...]
    held_out: tuple[int, ...]

    def draw(self, split: str, rng: np.random.Generator) -> int:
        return int(rng.choice(getattr(self, split)))

    def parse(self, name: str, value: Any) -> int:
        allowed = sorted(self.sample + self.held_out)
        if not _is_number(value) or value not in allowed:
            raise _refused(name, value, f"one of {allowed}")
        return int(value)


@dataclass(frozen=True)
class Color:
    """A colour by name; by value it is an RGB triple of 0 to 255."""

    default: str
    sample: tuple[str, ...]
    held_out: tuple[str, ...]

    def draw(self, split: str, rng: np.random.Generator) -> tuple[int, int, int]:
        names = getattr(self, split)
        return COLORS[names[rng.integers(len(names))]]

    def parse(self, name: str, value: Any) -> tuple[int, int, int]:
        if isinstance(value, str) and value in COLORS:
            return COLORS[value]
        if not _is_triple(value) or not all(0 <= part <= 255 and part == int(part) for part in value):
            raise _refused(name, value, f"one of {sorted(COLORS)} or three whole numbers of 0 to 255")
        return (int(value[0]), int(value[1]), int(value[2]))


_AGENTS = ("red", "green", "blue", "yellow", "purple", "orange")
_FLOOR = Color("white", sample=("white", "ivory", "silver", "sky"), held_out=("mint", "lavender"))

FACTORS: dict[str, Factor] = {
    "agent_color": Color("red", sample=_AGENTS, held_out=("cyan", "pink")),
    # The radius of the disc. The widest disc passes the narrowest door, so every combination can be solved.
    "agent_size": Number(0.05, sample=(0.04, 0.06), held_out=(0.065, 0.075), allowed=(0.03, 0.075)),
    "agent_speed": Number(0.03, sample=(0.02, 0.04), held_out=(0.045, 0.055), allowed=(0.02, 0.06)),
    "wall_color": Color("black", sample=("black", "grey", "brown", "navy"), held_out=("teal", "maroon")),
    "wall_thickness": Number(0.06, sample=(0.04, 0.08), held_out=(0.09, 0.12), allowed=(0.03, 0.16)),
    "door_position": Number(0.5, sample=(0.25, 0.75), held_out=(0.77, 0.82), allowed=(0.18, 0.82)),
    "door_width": Number(0.2, sample=(0.18, 0.24), held_out=(0.16, 0.175), allowed=(0.16, 0.28)),
    "door_number": Count(1, sample=(1, 2), held_out=(3,)),
    "floor_color_left": _FLOOR,
    "floor_color_right": _FLOOR,
}
"""The factors of the two rooms by name."""


def draw(factor: Factor, setting: Any, rng: np.random.Generator) -> Any:
    """The value of `factor` under a setting that `parse_setting` let pass."""
    if isinstance(setting, str) and setting in SPLITS:
        return factor.draw(setting, rng)
    return setting


def parse_setting(table: Mapping[str, Factor], name: str, setting: Any) -> Any:
    """A setting in its plain form: a value, "sample" or "held_out"; "default" becomes its value.

    Raises:
        UserError: if the factor is unknown or the value is not allowed.
    """
    if name not in table:
        raise UserError(f"unknown factor '{name}'; the factors are {', '.join(table)}")
    factor = table[name]
    if isinstance(setting, str) and setting in SPLITS:
        return setting
    if isinstance(setting, str) and setting == "default":
        setting = factor.default
    return factor.parse(name, setting)


def parse_settings(
    table: Mapping[str, Factor], factors: Mapping[str, Any] | None, num_envs: int
) -> list[dict[str, Any]]:
    """Settings by name, one for all environments or a list of E, as one dictionary for each environment.

    Raises:
        UserError: if a name is unknown, a value is not allowed, or a list has not E values.
    """
    if factors is not None and not isinstance(factors, Mapping):
        raise UserError(f"factors: got {factors!r}; expected a dictionary from a factor's name to its setting")
    each: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for name, setting in (factors or {}).items():
        triple = _is_triple(setting) and isinstance(table.get(name), Color)
        settings = list(setting) if _is_list(setting) and not triple else [setting] * num_envs
        values = [parse_setting(table, name, value) for value in settings]
        if len(values) != num_envs:
            raise UserError(f"factor '{name}': got {len(values)} values; expected one, or {num_envs} (one each)")
        for own, value in zip(each, values, strict=True):
            own[name] = value
    return each


def default_values(table: Mapping[str, Factor], num_envs: int) -> dict[str, np.ndarray]:
    """The default world, E times: arrays (E,), or (E, 3) uint8 for colours."""
    return {
        name: np.repeat(_array(factor.parse(name, factor.default)), num_envs, axis=0) for name, factor in table.items()
    }


def _array(value: Any) -> np.ndarray:
    return np.array([value], dtype=np.uint8 if isinstance(value, tuple) else None)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _is_list(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_triple(value: Any) -> bool:
    return _is_list(value) and len(value) == 3 and all(_is_number(part) for part in value)


def _refused(name: str, value: Any, expected: str) -> UserError:
    return UserError(f'factor \'{name}\': got {value!r}; expected {expected}, or "default", "sample" or "held_out"')
