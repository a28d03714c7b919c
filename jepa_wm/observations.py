"""What is seen, what is to be reached, and what is imagined in between."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from jepa_wm.errors import UserError

Seen = Tensor | np.ndarray
"""Pictures or states, of torch or NumPy."""


class Observation(NamedTuple):
    """What is seen and felt, of E environments or of one.

    Attributes:
        pixels: uint8 (E, C, H, W) or (C, H, W).
        state: (E, P) or (P,), for models that read it; None where there is none.
    """

    pixels: Tensor
    state: Tensor | None = None

    def of(self, environments: Tensor) -> "Observation":
        """Those of some environments, bool (E,); what there is one of is for all.

        Raises:
            UserError: if these are of another number of environments.
        """
        if self.pixels.ndim == 3 or len(self.pixels) == 1:
            return self
        check_count(len(self.pixels), len(environments), "images")
        state = self.state if self.state is None or self.state.ndim == 1 else self.state[environments]
        return Observation(self.pixels[environments], state)


class Imagined(NamedTuple):
    """What is imagined to follow K blocks of actions.

    Attributes:
        latents: (B, K, N, D); of an ensemble, the mean of its members.
        uncertainty: the root mean square error over N and D that is to be expected of them (B, K), by how far an
            ensemble's members are apart; None of a single predictor, which does not know.
        readouts: what each head reads off the latents, by name.
    """

    latents: Tensor
    uncertainty: Tensor | None
    readouts: dict[str, Tensor]


def tensor_of(seen: Any, name: str = "observation") -> Tensor:
    """What is seen, felt or done as a tensor: itself, or a NumPy array's numbers.

    Args:
        seen: what is given.
        name: what it is.

    Raises:
        UserError: if it is neither.
    """
    if isinstance(seen, Tensor):
        return seen
    if isinstance(seen, np.ndarray) and seen.dtype.kind in "biuf":
        # What is read-only or reversed, torch does not take as it is.
        return torch.from_numpy(np.require(seen, requirements=["C", "W"]))
    mend = ""
    if isinstance(seen, Mapping):
        mend = '; of a dictionary give its "pixels", and its "state" as state: `Controller.act` alone takes it whole'
    raise UserError(f"{name}: got {type(seen).__name__}; expected a tensor or a NumPy array of numbers{mend}")


def check_count(count: int, environments: int, of: str) -> None:
    """Refuse so many of something where one serves all environments, or each has its own.

    Raises:
        UserError: if there is neither one of it nor one for each of the E.
    """
    if count not in (1, environments):
        expected = "1" if environments == 1 else f"1 or {environments}, one an environment"
        raise UserError(f"plan: got {count} {of}; expected {expected}")
