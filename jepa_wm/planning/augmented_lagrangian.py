"""Constraints by multipliers, around any other search."""

import sys
import time

import torch
from torch import Tensor

from jepa_wm.contracts import Budget, ConstrainedCost, Cost, Generators, Plan, Planner
from jepa_wm.errors import UserError
from jepa_wm.planning.cem import CEM
from jepa_wm.planning.incumbent import Incumbent


class AugmentedLagrangian:
    """Search for the least of cost + multiplier · violation + penalty / 2 · violation², again and again.

    Each search starts from the answer of the one before; where that still breaks a constraint, the multiplier grows by
    penalty · violation, and the penalty by a factor. Unlike rejection it tells a search which way leads out, and lets
    it pass through what is forbidden on its way. The answer is the best candidate ever judged that breaks nothing, or
    the one that breaks least. A cost that knows no constraints is searched once, by the inner planner.

    The trace is that of all searches, one after the other, with the `multiplier` (I, E) of each; `cost` and `violation`
    are those of the best of all searches, `elites` what theirs cost with the multiplier and the penalty.

    Args:
        planner: the inner search; `CEM()` if none is given.
        rounds: searches; a budget is shared out among them.
        penalty: of the first, in units of the cost over those of the violation squared.
        growth: of the penalty from one round to the next.

    Attributes:
        proposes: a world model starts this planner from its proposal, as it does the inner one.

    Raises:
        UserError: if a number is out of range.

    Source: Hestenes 1969, Powell 1969; Nocedal & Wright, Numerical Optimization, chapter 17. A violation is never below
    0 here, so multipliers never fall.
    """

    def __init__(
        self, planner: Planner | None = None, rounds: int = 4, penalty: float = 1.0, growth: float = 10.0
    ) -> None:
        if not (rounds >= 1 and penalty > 0 and growth >= 1):
            raise UserError(
                f"AugmentedLagrangian: got rounds {rounds}, penalty {penalty}, growth {growth}; expected rounds >= 1, "
                "penalty > 0 and growth >= 1"
            )
        self.planner = planner or CEM()
        self.proposes: bool = getattr(self.planner, "proposes", False)
        self.rounds, self.penalty, self.growth = rounds, penalty, growth

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
        if not isinstance(cost, ConstrainedCost):
            return self.planner.plan(cost, mean, std, low, high, generator, budget)
        best, began = Incumbent(cost, mean, low, high, budget), time.perf_counter()
        multiplier, slowest = torch.zeros_like(best.costs), 0.0
        for number in range(self.rounds):
            share = _share(best, began, self.rounds - number, slowest)
            if share is None:
                break
            penalty = self.penalty * self.growth**number
            inner = _Lagrangian(cost, best, multiplier, penalty)
            found = self.planner.plan(inner, mean, std, low, high, generator, share)
            best.rows += inner.rows(found.trace)
            mean, ends = found.actions, found.trace.get("seconds", torch.zeros(1))
            slowest = max(slowest, float(ends.diff(prepend=ends.new_zeros(1)).max()))
            multiplier = multiplier + penalty * inner.violation
        return best.answer()


class _Lagrangian:
    """One search's cost; what is judged goes to the incumbent of all searches, too.

    Attributes:
        violation: of the candidate for which this cost was least so far, (E,).
    """

    def __init__(self, cost: ConstrainedCost, best: Incumbent, multiplier: Tensor, penalty: float) -> None:
        self.cost, self.best, self.multiplier, self.penalty = cost, best, multiplier, penalty
        self.violation = torch.zeros_like(multiplier)
        self._least = torch.full_like(multiplier, torch.inf)
        self._before, self._accounts = best.evaluations, dict[int, dict[str, Tensor]]()

    def __call__(self, candidates: Tensor) -> Tensor:
        costs, violations = self.cost.parts(candidates)
        self.best.take(candidates, costs, violations)
        self._accounts[self.best.evaluations - self._before] = self.best.account()
        total = costs + self.multiplier[:, None] * violations + self.penalty / 2 * violations.square()
        least, first = total.detach().nan_to_num(nan=torch.inf).min(dim=1)
        better = least < self._least
        found = violations.detach().gather(1, first[:, None])[:, 0]
        self.violation = torch.where(better, found.to(self.violation), self.violation)
        self._least = torch.where(better, least.to(self._least), self._least)
        return total

    def rows(self, trace: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """The rows of the inner search, in each the account of all searches when it had judged as many candidates."""
        told = (dict(zip(trace, row, strict=True)) for row in zip(*trace.values(), strict=True))
        return [row | self._accounts[int(row["evaluations"])] | {"multiplier": self.multiplier} for row in told]


def _share(best: Incumbent, began: float, rounds: int, slowest: float) -> Budget | None:
    """What one of the `rounds` that are left may spend; None if nothing is left, or not the time of the slowest round.

    The first search has a round in any case.
    """
    evaluations, seconds = best.budget.evaluations, best.budget.seconds
    if evaluations is not None:
        evaluations = -((best.evaluations - evaluations) // rounds)
        if evaluations <= 0:
            return None
    if seconds is not None:
        left = seconds - (time.perf_counter() - began)
        if best.evaluations and left < slowest:
            return None
        seconds = max(left / rounds, sys.float_info.min)
    return Budget(evaluations, seconds)
