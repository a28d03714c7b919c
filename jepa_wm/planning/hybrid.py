"""A proposal, and a short search around it."""

from torch import Tensor

from jepa_wm.contracts import Budget, Cost, Generators, Plan, Planner
from jepa_wm.errors import UserError
from jepa_wm.planning.cem import CEM
from jepa_wm.precision import at_least_float32


class Hybrid:
    """Let another planner search near what the model's `Proposal` says. Every planner judges where it starts, so the
    plan is never worse than the proposal.

    Args:
        planner: the search; two rounds of 32 candidates by `CEM` if none is given.
        spread: of its first candidates around the proposal, in parts of what a search from nowhere has.

    Attributes:
        proposes: a world model starts this planner from its proposal.

    Raises:
        UserError: if `spread` is not above 0.

    Source: LEAP (arXiv 2609.03294), which refines a proposal by ten steps of L-BFGS; here by any planner.
    """

    proposes = True

    def __init__(self, planner: Planner | None = None, spread: float = 0.3) -> None:
        if not spread > 0:
            raise UserError(f"Hybrid.spread: got {spread}; expected more than 0")
        self.planner, self.spread = planner or CEM(samples=32, elites=4, iterations=2), spread

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
        std = self.spread * at_least_float32(std)
        return self.planner.plan(cost, mean, std, low, high, generator, budget)
