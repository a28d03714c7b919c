"""The best candidates that a search has found, and what it has spent: what all searches have in common."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from jepa_wm.contracts import Budget, ConstrainedCost, Cost, Plan
from jepa_wm.errors import UserError
from jepa_wm.planning.costs import rejected
from jepa_wm.precision import at_least_float32


class Incumbent:
    """The best candidate of each environment so far, and the account of the search.

    What breaks constraints less is better, whatever it costs; of what breaks them alike, what costs less. All of it is
    in float32 at least, whatever the search starts from.

    Attributes:
        actions: the best so far, (E, K, A); where the search starts, within the bounds, until something is judged.
        costs: of these, (E,); infinite until then.
        violations: by how much these break constraints, (E,); infinite until then.
        rows: of the trace so far.

    Args:
        cost: what is searched for the least of.
        mean: where the search starts, (E, K, A).
        low: bounds (A,).
        high: bounds (A,).
        budget: what may be spent.
    """

    def __init__(self, cost: Cost, mean: Tensor, low: Tensor, high: Tensor, budget: Budget | None = None) -> None:
        # A model in bfloat16 has its bounds in it, too, and two good candidates differ by less than its steps.
        mean, self.low, self.high = (at_least_float32(given) for given in (mean, low, high))
        self.cost = cost
        self.budget = Budget() if budget is None else budget
        self.actions = self.clamp(mean)
        self.costs = self.violations = torch.full_like(mean[:, 0, 0], torch.inf)
        self.nan = torch.zeros_like(self.costs, dtype=torch.long)
        self.evaluations = 0
        self.rows: list[dict[str, Tensor]] = []
        self._began, self._rounds_left = time.perf_counter(), 0

    def clamp(self, candidates: Tensor) -> Tensor:
        """The same candidates (…, K, A), brought to the bounds where they lie outside."""
        return candidates.clamp(self.low, self.high)

    def rounds(self, iterations: int, samples: int) -> Iterator[int]:
        """How many candidates each round may judge: `samples` in each of `iterations`, or while the budget lasts."""
        limit, seconds, slowest = self.budget.evaluations, self.budget.seconds, 0.0
        done = 0
        counted = limit is None and seconds is None
        while done < iterations if counted else True:
            self._rounds_left = iterations - done if counted else 0
            began = time.perf_counter()
            left = samples if limit is None else min(samples, limit - self.evaluations)
            if left <= 0 or (seconds is not None and done and began - self._began + slowest > seconds):
                return
            yield left
            if seconds is not None:
                self.costs.cpu()  # a GPU may have the round still before it
            slowest = max(slowest, time.perf_counter() - began)
            done += 1

    def ends(self, samples: int) -> bool:
        """Whether a round of so many candidates is the last and has one to spare: for what it is fitted to in the end.

        Of a budget in seconds nobody knows which round will be the last.
        """
        limit = self.budget.evaluations
        last = self._rounds_left == 1 if limit is None else limit - self.evaluations == samples
        return last and samples > 1

    def judge(self, candidates: Tensor) -> Tensor:
        """What a search goes by, (E, S), of candidates (E, S, K, A) within the bounds: what they cost, or `rejected`.

        NaN becomes infinity, and is counted.
        """
        if isinstance(self.cost, ConstrainedCost):
            return self.take(candidates, *self.cost.parts(candidates))
        costs = self.cost(candidates)
        return self.take(candidates, costs, torch.zeros_like(costs))

    def take(self, candidates: Tensor, costs: Tensor, violations: Tensor) -> Tensor:
        """As `judge`, where the costs and violations (E, S) are known."""
        costs, violations = costs.to(candidates), violations.to(candidates)
        judged = rejected(costs, violations)
        unknown = judged.isnan()
        self.nan += unknown.sum(dim=1)
        self.evaluations += candidates.shape[1]
        self._keep(candidates.detach(), costs.detach(), violations.detach())
        return judged.masked_fill(unknown, torch.inf)

    def account(self) -> dict[str, Tensor]:
        """Where the search stands, but for what a planner tells of its round: a row of the trace."""
        spent = {"seconds": time.perf_counter() - self._began, "evaluations": float(self.evaluations)}
        best = {"cost": self.costs, "violation": self.violations} if self._constrained else {"cost": self.costs}
        return {**best, "nan": self.nan.clone(), **{name: torch.tensor(value) for name, value in spent.items()}}

    def note(self, **told: Tensor) -> None:
        """End a round: what is told of it, each (E,), goes into the trace beside the account."""
        self.rows.append(self.account() | {name: value.detach() for name, value in told.items()})

    def answer(self) -> Plan:
        """The answer.

        Raises:
            UserError: if no cost of an environment was a number.
        """
        if (lost := torch.isinf(self.costs) & (self.nan >= self.evaluations)).any():
            raise UserError(
                f"plan: all {self.evaluations} costs of environments {lost.nonzero().flatten().tolist()} are NaN; "
                "expected numbers: are what is seen and the model's weights finite?"
            )
        trace = {name: torch.stack([row[name] for row in self.rows]) for name in (self.rows or [{}])[0]}
        return Plan(self.actions, self.costs, trace, self.violations if self._constrained else None)

    @property
    def _constrained(self) -> bool:
        return isinstance(self.cost, ConstrainedCost)

    def _keep(self, candidates: Tensor, costs: Tensor, violations: Tensor) -> None:
        known = (costs < torch.inf) & (violations < torch.inf)  # NaN is neither
        violations = violations.clamp(min=0).masked_fill(~known, torch.inf)
        least = violations.amin(dim=1)
        lowest, first = costs.masked_fill(~known | (violations > least[:, None]), torch.inf).min(dim=1)
        better = (least < self.violations) | (least == self.violations) & (lowest < self.costs)
        winners = candidates[torch.arange(len(candidates), device=candidates.device), first]
        self.actions = torch.where(better[:, None, None], winners, self.actions)
        self.costs = torch.where(better, lowest, self.costs)
        self.violations = torch.where(better, least, self.violations)
