"""What starts from a proposal: a search around it, and none at all."""

import pytest
import torch
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.planning import CEM, Amortised, Hybrid

LOW, HIGH = -torch.ones(2), torch.ones(2)


def far_off(candidates: Tensor) -> Tensor:
    """A cost of which every sample near the start is worse than it."""
    return (candidates - 0.4).abs().sum(dim=(2, 3)).sign() + candidates.square().sum(dim=(2, 3)) / 100


@pytest.mark.parametrize("planner", [Amortised(), Hybrid(), Hybrid(CEM(8, 2, 1), 2.0)])
def test_a_plan_is_never_worse_than_its_proposal(planner: Amortised | Hybrid) -> None:
    proposal = torch.full((3, 4, 2), 0.4)
    generator = torch.Generator().manual_seed(0)
    plan = planner.plan(far_off, proposal, torch.ones_like(proposal), LOW, HIGH, generator)
    assert torch.equal(plan.actions, proposal)
    torch.testing.assert_close(plan.cost, far_off(proposal[:, None])[:, 0])


def test_no_search_is_one_evaluation() -> None:
    plan = Amortised().plan(far_off, torch.full((3, 4, 2), 7.0), torch.ones(3, 4, 2), LOW, HIGH, torch.Generator())
    assert plan.trace["evaluations"].tolist() == [1.0]
    assert plan.trace["spread"].eq(0).all() and torch.equal(plan.trace["elites"], plan.trace["cost"])
    assert torch.equal(plan.actions, torch.ones(3, 4, 2))


def test_the_first_candidates_are_as_far_as_the_spread_says() -> None:
    seen: list[Tensor] = []

    def cost(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return candidates.sum(dim=(2, 3))

    start = torch.zeros(1, 3, 2)
    generator = torch.Generator().manual_seed(0)
    Hybrid(CEM(4000, 10, 1), 0.1).plan(cost, start, torch.full_like(start, 0.5), LOW, HIGH, generator)
    assert seen[0].std().item() == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("spread", [0, -0.1, float("nan")])
def test_a_spread_that_is_none_is_refused(spread: float) -> None:
    with pytest.raises(UserError, match=f"spread: got {spread}"):
        Hybrid(spread=spread)
