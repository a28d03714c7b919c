"""How straight latents run through time."""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.checks import check_rows

STILL = 1e-3
"""Velocities below this part of the median one have no direction."""


class Turns(NamedTuple):
    """The bends of E episodes, at each of which the velocity changes from one to the next.

    Attributes:
        cosine: between the two velocities, (E, T - 2).
        counted: where both have a direction, bool (E, T - 2).
    """

    cosine: Tensor
    counted: Tensor


def straightness(x: Tensor) -> float:
    """Mean cosine of successive velocities of latents x (E, T, d): 1 on a line, -1/2 where all are independent.

    Raises:
        UserError: x is not finite, has fewer than 3 times, or nothing in it moves twice in succession.
    """
    found = turns(x)
    return found.cosine[found.counted].mean().item()


def curvature(x: Tensor) -> float:
    """Mean angle in degrees between successive velocities of latents x (E, T, d): 0 on a line.

    Raises:
        UserError: as `straightness`.

    Source: Henaff, Goris & Simoncelli 2019.
    """
    found = turns(x)
    return found.cosine[found.counted].acos().rad2deg().mean().item()


def turns(x: Tensor) -> Turns:
    """The bends of latents x (E, T, d); where one is still, before or behind, it is not counted.

    Raises:
        UserError: as `straightness`.
    """
    if x.ndim != 3 or x.shape[1] < 3:
        raise UserError(f"x: got shape {tuple(x.shape)}; expected latents (E, T, d) of at least 3 times")
    check_rows("x", x.flatten(0, 1))
    velocity = x.detach().double().diff(dim=1)
    speed = velocity.norm(dim=-1)
    moving = speed[speed > 0]
    has_way = speed > (STILL * moving.median() if len(moving) else 0.0)
    counted = has_way[:, :-1] & has_way[:, 1:]
    if not counted.any():
        raise UserError("x: nothing moves twice in succession, so no path has a direction; look for collapse")
    direction = velocity / speed.clamp(min=torch.finfo(torch.float64).tiny)[..., None]
    return Turns((direction[:, :-1] * direction[:, 1:]).sum(dim=-1).clamp(-1, 1), counted)
