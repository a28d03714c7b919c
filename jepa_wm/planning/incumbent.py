"""The best candidates that a search has found, and what it has spent: what all searches have in common."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from jepa_wm.contracts import Budget, Cost, Plan
from jepa_wm.errors import UserError


class Incumbent:
    """The best candidate of each environment so far, and the account of the search.

    Attributes:
        actions: the best so far, (E, K, A); where the search starts, within the bounds, until something is judged.

    Args:
        cost: what is searched for the least of.
        mean: where the search starts, (E, K, A).
        low: bounds (A,).
        high: bounds (A,).
        budget: what may be spent.
    """

    def __init__(self, cost: Cost, mean: Tensor, low: Tensor, high: Tensor, budget: Budget | None = None) -> None:
        self.cost, self.low, self.high, self.budget = cost, low, high, budget or Budget()
        self.actions = self.clamp(mean)
        self.costs = torch.full_like(mean[:, 0, 0], torch.inf)
        self.nan = torch.zeros_like(self.costs, dtype=torch.long)
        self.evaluations = 0
        self._began, self._rounds_left = time.perf_counter(), 0
        self._trace: dict[str, list[Tensor]] = {}

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
        """The costs (E, S) of candidates (E, S, K, A) within the bounds; NaN becomes infinity, and is counted."""
        return self.take(candidates, self.cost(candidates))

    def take(self, candidates: Tensor, costs: Tensor) -> Tensor:
        """As `judge`, where the costs (E, S) are known."""
        costs = costs.to(candidates)
        broken = costs.isnan()
        costs = costs.masked_fill(broken, torch.inf)
        self.nan += broken.sum(dim=1)
        self.evaluations += candidates.shape[1]
        self._keep(candidates.detach(), costs.detach())
        return costs

    def note(self, **told: Tensor) -> None:
        """End a round: what is told of it, each (E,), goes into the trace beside the account."""
        account = {"seconds": time.perf_counter() - self._began, "evaluations": float(self.evaluations)}
        row = {"cost": self.costs, "nan": self.nan.clone(), **told}
        row |= {name: torch.tensor(value) for name, value in account.items()}
        for name, value in row.items():
            self._trace.setdefault(name, []).append(value.detach())

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
        return Plan(self.actions, self.costs, {name: torch.stack(values) for name, values in self._trace.items()})

    def _keep(self, candidates: Tensor, costs: Tensor) -> None:
        least, first = costs.min(dim=1)
        better = least < self.costs
        winners = candidates[torch.arange(len(candidates), device=candidates.device), first]
        self.actions = torch.where(better[:, None, None], winners, self.actions)
        self.costs = torch.where(better, least.to(self.costs), self.costs)
