"""Actions as an environment takes them and as stable-worldmodel's solvers search for them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.world_model import WorldModel


class ActionUnits:
    """From a solver's numbers, which start with mean 0 and spread 1, to an environment's actions, and back.

    Give it to their policy as `process={"action": units}`, in place of scikit-learn's `StandardScaler`.

    Args:
        mean: of the environment's actions (A,), where a solver's 0 is.
        std: of them, a solver's 1.
        low: bounds of the environment's actions (A,); what lies outside is brought to them, since their solvers know
            no bounds.
        high: the same, above.

    Raises:
        UserError: if they are not A numbers each, or no `std` is above 0.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], low: Sequence[float], high: Sequence[float]
    ) -> None:
        self.mean, self.std, self.low, self.high = (np.asarray(each, np.float32) for each in (mean, std, low, high))
        if not self.mean.shape == self.std.shape == self.low.shape == self.high.shape or not (self.std > 0).all():
            raise UserError(
                f"ActionUnits: got mean {list(mean)}, std {list(std)}, low {list(low)}, high {list(high)}; expected as "
                "many numbers in each, std above 0"
            )

    @classmethod
    def of(cls, model: WorldModel) -> "ActionUnits":
        """From the middle of a model's bounds to each of them is 1: what its own plans start with."""
        low, high = model.bounds.low.cpu(), model.bounds.high.cpu()
        return cls(((low + high) / 2).tolist(), model.bounds.half_width.tolist(), low.tolist(), high.tolist())

    def transform(self, actions: np.ndarray) -> np.ndarray:
        """Actions (…, A) of the environment -> a solver's."""
        return (np.asarray(actions, np.float32) - self.mean) / self.std

    def inverse_transform(self, numbers: np.ndarray) -> np.ndarray:
        """A solver's (…, A) -> actions of the environment, within the bounds."""
        return np.clip(np.asarray(numbers, np.float32) * self.std + self.mean, self.low, self.high)

    def blocks(self, candidates: Tensor) -> Tensor:
        """A solver's blocks of steps (…, block * A) -> the environment's, as `inverse_transform`."""
        mean, std, low, high = (torch.from_numpy(each).to(candidates) for each in self._members())
        steps = candidates.unflatten(-1, (-1, len(mean)))
        return (steps * std + mean).clamp(low, high).flatten(-2)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """The bounds (A,) in a solver's numbers."""
        return torch.from_numpy(self.transform(self.low)), torch.from_numpy(self.transform(self.high))

    def _members(self) -> tuple[np.ndarray, ...]:
        return self.mean, self.std, self.low, self.high
