"""What latents are asked: the state of the world, and every factor of variation that varies."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Labelled(Protocol):
    """Rows of which the truth is known."""

    @property
    def state(self) -> Tensor:
        """(n, P)."""
        ...

    @property
    def factors(self) -> Mapping[str, Tensor]:
        """(n, k) by name."""
        ...


def targets(rows: Mapping[str, Labelled]) -> dict[str, dict[str, Tensor]]:
    """Real targets (n, k) by name and split: the position, which is the whole state, if any, and factors that vary.

    A factor's columns that are constant in a split have no R² and are left out.
    """
    states = {split: part.state for split, part in rows.items()}
    asked = {"position": states} if all(state.shape[1] for state in states.values()) else {}
    for name in next(iter(rows.values())).factors:
        values = {split: part.factors[name] for split, part in rows.items()}
        varies = torch.stack([(value != value[0]).any(dim=0) for value in values.values()]).all(dim=0)
        if varies.any():
            asked[name] = {split: value[:, varies] for split, value in values.items()}
    return asked
