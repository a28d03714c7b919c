"""What actions a world model was trained on, and what is done about others."""

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

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the bounds of the data's action space; where there are none, `REACH` deviations from the mean.

        Raises:
            UserError: if they are not of `action_dim` numbers.
        """
        found = {len(statistics.get(f"action_{which}", ())) for which in ("mean", "std")}
        if found != {self.action_dim}:
            raise UserError(
                f"the data's actions have {max(found)} numbers; action_dim is {self.action_dim}; expected the same: "
                "set it to that, or use shards of episodes with such actions"
            )
        mean, std = torch.tensor(statistics["action_mean"]), torch.tensor(statistics["action_std"])
        low, high = mean - REACH * std, mean + REACH * std
        least, most = statistics.get("action_bounds", (low.tolist(), high.tolist()))
        self.low.copy_(torch.tensor([a if b is None else b for a, b in zip(low.tolist(), least, strict=True)]))
        self.high.copy_(torch.tensor([a if b is None else b for a, b in zip(high.tolist(), most, strict=True)]))

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
