"""Environments that are put at states, side by side."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np


class StateVectorEnv(gymnasium.vector.VectorEnv, ABC):
    """E environments that `reset(options={"state": …})` puts at states (E, P), and that are looked at when asked.

    Attributes:
        state: where they are, float32 (E, P).
        factor_values: factors of variation by name, arrays (E, …).
    """

    state: np.ndarray
    factor_values: Mapping[str, np.ndarray]

    @abstractmethod
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin new episodes, at `options["state"]` (E, P) where it is given; in `options["reset_mask"]`, or in all."""

    @abstractmethod
    def look(self, where: np.ndarray) -> np.ndarray:
        """Pictures of some as they are now: of `where`, bool (E,), uint8 (their number, 3, size, size)."""

    @abstractmethod
    def render_states(self, states: np.ndarray) -> np.ndarray:
        """Each environment's picture at `states` (E, P): uint8 (E, 3, size, size)."""
