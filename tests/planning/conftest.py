"""Problems whose answer is known, and a way to set a planner on them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from jepa_wm.contracts import Budget, Cost, Generators, Plan, Planner


@pytest.fixture
def quadratic() -> Callable[..., Cost]:
    """`quadratic(target (E, K, A), seen)`: the squared distance to the target; what is tried is added to `seen`."""

    def made(target: Tensor, seen: list[Tensor] | None = None) -> Cost:
        def cost(candidates: Tensor) -> Tensor:
            if seen is not None:
                seen.append(candidates.detach())
            return (candidates - target[:, None]).square().sum(dim=(2, 3))

        return cost

    return made


@pytest.fixture
def solve() -> Callable[..., Plan]:
    """`solve(planner, cost, mean, …)`: plan within [-1, 1], or other bounds, as a model does: with gradients off."""

    def solved(
        planner: Planner,
        cost: Cost,
        mean: Tensor,
        budget: Budget | None = None,
        low: float = -1,
        high: float = 1,
        seed: int | list[int] = 0,
    ) -> Plan:
        low, high = (torch.full(mean.shape[2:], float(bound)) for bound in (low, high))
        std = (high - low).div(2).expand(mean.shape)
        with torch.no_grad():
            return planner.plan(cost, mean, std, low, high, generators(seed), budget)

    def generators(seed: int | list[int]) -> Generators:
        if isinstance(seed, int):
            return torch.Generator().manual_seed(seed)
        made = {each: torch.Generator().manual_seed(each) for each in seed}
        return [made[each] for each in seed]

    return solved
