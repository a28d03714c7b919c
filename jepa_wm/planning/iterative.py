"""What planners that search in rounds have in common."""

from abc import ABC, abstractmethod

from torch import Tensor

from jepa_wm.contracts import Budget, Cost, Generators, Plan
from jepa_wm.errors import UserError
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.precision import at_least_float32


class Iterative(ABC):
    """A planner that judges candidates round after round; a subclass says which."""

    @abstractmethod
    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        """Search from `best.actions` (E, K, A) on, as far as `std` (E, K, A) says, while `best.rounds` last.

        Each round ends with `best.note`, which is told `spread`, how far the candidates are spread, and `elites`, the
        mean cost of those that the search goes on from, each (E,).
        """

    def plan(
        self,
        cost: Cost,
        mean: Tensor,
        std: Tensor,
        low: Tensor,
        high: Tensor,
        generator: Generators,
        budget: Budget | None = None,
    ) -> Plan:
        """See `Planner`."""
        best = Incumbent(cost, mean, low, high, budget)
        self.search(best, at_least_float32(std), generator)
        return best.answer()

    def _require(self, holds: bool, expected: str) -> None:
        """Refuse arguments that make no search."""
        if not holds:
            got = ", ".join(f"{name} {value}" for name, value in vars(self).items())
            raise UserError(f"{type(self).__name__}: got {got}; expected {expected}")
