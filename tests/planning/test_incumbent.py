"""What all searches have in common: rounds that fit into the time that is left, and costs that are infinite."""

import pytest
import torch
from torch import Tensor

from jepa_wm.contracts import Budget
from jepa_wm.planning import RandomShooting

START = torch.zeros(2, 1, 1)
BOUNDS = -torch.ones(1), torch.ones(1)


@pytest.mark.parametrize(("seconds", "rounds"), [(7.5, 3), (8.5, 4), (9.5, 5), (3.5, 2), (1.5, 1)])
def test_a_round_is_begun_if_the_slowest_so_far_would_end_in_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float, rounds: int
) -> None:
    """The second of all rounds takes three seconds, each other one."""
    clock, lasts = [100.0], iter([1.0, 3.0] + [1.0] * 20)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def slow(candidates: Tensor) -> Tensor:
        clock[0] += next(lasts)
        return candidates.square().sum(dim=(2, 3))

    generator = torch.Generator().manual_seed(0)
    plan = RandomShooting(4).plan(slow, START, torch.ones_like(START), *BOUNDS, generator, Budget(seconds=seconds))
    assert len(plan.trace["cost"]) == rounds


def test_where_costs_are_infinite_or_no_number_the_start_is_the_answer() -> None:
    """Infinity is a cost; only where there is none but NaN has the search failed."""

    def cost(candidates: Tensor) -> Tensor:
        x = candidates[:, :, 0, 0]
        return torch.full_like(x, torch.inf).where(x <= 0, torch.nan)

    generator = torch.Generator().manual_seed(0)
    plan = RandomShooting(20, 2).plan(cost, START - 0.3, torch.ones_like(START), *BOUNDS, generator)
    assert plan.cost.tolist() == [torch.inf] * 2 and torch.equal(plan.actions, START - 0.3)
    assert (plan.trace["nan"][-1] > 0).all() and (plan.trace["nan"][-1] < 40).all()
