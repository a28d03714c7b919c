"""Planners that answer what a test says."""

from abc import ABC, abstractmethod

from torch import Tensor

from jepa_wm.contracts import Budget, Cost, Generators, Plan


class Answering(ABC):
    """A planner whose plan does not depend on spread, bounds and budget."""

    @abstractmethod
    def answer(self, cost: Cost, mean: Tensor, generator: Generators) -> Plan:
        """The plan from a start (E, K, A) on."""

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
        return self.answer(cost, mean, generator)
