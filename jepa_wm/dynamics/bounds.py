"""What actions a world model was trained on, and what is done about others."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.errors import UserError

REACH = 3.0
"""Standard deviations from the mean that a search goes where an environment has no bounds."""


ROUNDING = 1e-6
"""How far beyond a bound an action may lie by rounding, in parts of the bound where that is above 1."""


class ActionBounds(nn.Module):
    """The bounds of an environment's actions.

    Args:
        action_dim: A of one environment step.
        frame_skip: environment steps in a block.
    """

    low: Tensor
    high: Tensor

    def __init__(self, action_dim: int, frame_skip: int) -> None:
        super().__init__()
        self.action_dim, self.frame_skip = action_dim, frame_skip
        self.register_buffer("low", torch.full((action_dim,), -1.0))
        self.register_buffer("high", torch.ones(action_dim))

    @property
    def half_width(self) -> Tensor:
        """Half of the width between the bounds (A,); 1 of what may not move, so that it can be divided by."""
        half = (self.high - self.low) / 2
        return torch.where(half > 0, half, 1.0)

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the bounds of the data's action space; where there are none, `REACH` deviations from the mean.

        A bound that is infinite or None is none.

        Raises:
            UserError: if they are not of `action_dim` numbers, one is NaN, or a lower one is above the upper.
        """
        mean, std = (self._row(statistics.get(f"action_{which}"), f"action_{which}") for which in ("mean", "std"))
        bounds = statistics.get("action_bounds", ([None] * self.action_dim, [None] * self.action_dim))
        if len(bounds) != 2:
            raise UserError(f"action_bounds: got {bounds}; expected a pair of lists, the lower bounds first")
        low, high = (
            torch.where(given.isfinite(), given, reach)
            for given, reach in (
                (self._row(bounds[0], "action_bounds", -torch.inf), mean - REACH * std),
                (self._row(bounds[1], "action_bounds", torch.inf), mean + REACH * std),
            )
        )
        if not (low <= high).all():
            raise UserError(f"action_bounds: got {low.tolist()} to {high.tolist()}; expected lower ones first, no NaN")
        self.low.copy_(low)
        self.high.copy_(high)

    def _row(self, values: Any, name: str, none: float = torch.nan) -> Tensor:
        """A number (A,) for each action, `none` for None."""
        listed = list(values) if isinstance(values, Iterable) else []
        if len(listed) != self.action_dim:
            raise UserError(
                f"the data's {name} has {len(listed)} numbers; action_dim is {self.action_dim}; expected the same: "
                "set it to that, or use shards of episodes with such actions"
            )
        row = torch.tensor([none if value is None else float(value) for value in listed])
        if row.isnan().any():
            raise UserError(f"{name}: got {listed}; expected numbers")
        return row

    def forward(self, actions: Tensor, clip: bool = False) -> Tensor:
        """The same blocks of actions (..., frame_skip * A), if they are what the model knows, of its type and device.

        Args:
            actions: in the environment's units.
            clip: bring actions outside the bounds to them, instead of refusing them.

        Raises:
            UserError: if they have another size, are not finite, or lie outside.
        """
        if actions.shape[-1] != self.frame_skip * self.action_dim:
            raise UserError(
                f"actions: got blocks of {actions.shape[-1]} numbers; expected {self.frame_skip * self.action_dim}, "
                f"frame_skip {self.frame_skip} times {self.action_dim} of the environment"
            )
        if actions.is_complex():
            raise UserError(f"actions: got {actions.dtype}; expected real numbers")
        if not torch.isfinite(actions).all():
            raise UserError("actions: got NaN or infinity; expected numbers")
        steps = actions.to(self.low).unflatten(-1, (self.frame_skip, self.action_dim))
        inside = steps.clamp(self.low, self.high)
        if not clip and ((steps - inside).abs() > ROUNDING * inside.abs().clamp(min=1)).any():
            raise UserError(
                f"actions: got {steps.amin().item():.4g} to {steps.amax().item():.4g}; expected {self.low.tolist()} to "
                f"{self.high.tolist()}; clip=True clips them"
            )
        return inside.flatten(-2)
