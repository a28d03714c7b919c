"""What a world model hands to a planner: where to begin, and a price for what it does not know."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from jepa_wm.contracts import Budget, Cost, FutureCost, Plan, Planner
from jepa_wm.dynamics import Ensemble, TransformerDynamics, Trunk
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.goals import Constraint, Goal, Uncertainty
from jepa_wm.goals.goal import Model
from jepa_wm.planning import CEM, Amortised
from jepa_wm.planning.costs import Distance
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

SEEN = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def made() -> WorldModel:
    """Two predictors that differ and a proposal, in float64, which autocast leaves alone."""
    torch.manual_seed(0)
    members, proposal = Ensemble(TransformerDynamics(6, trunk=Trunk(12, 1, 2)), 2), Proposal(6, longest=4, width=16)
    for parameter in (*members.parameters(), *proposal.parameters()):
        parameter.data += 0.3 * torch.randn_like(parameter)
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    return WorldModel(encoder, members, proposal=proposal).eval().double()


@dataclass
class Noting:
    """Plans what it starts from, and notes what it was given."""

    given: dict[str, Tensor] = field(default_factory=dict)

    def plan(
        self,
        cost: Cost,
        mean: Tensor,
        std: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator,
        budget: Budget | None = None,
    ) -> Plan:
        self.given = {"mean": mean, "std": std, "low": low, "high": high}
        return Plan(mean, cost(mean[:, None])[:, 0], {})


@pytest.mark.parametrize(("hold", "steps"), [(True, 1), (False, 5)])
def test_a_search_begins_in_the_middle_of_the_bounds_and_is_spread_to_either(hold: bool, steps: int) -> None:
    model, planner = made(), Noting()
    spread = {"action_mean": [0.0, 0.0], "action_std": [1.0, 1.0]}
    model.bounds.prepare(spread | {"action_bounds": ([2.0, -1.0], [4.0, 0.0])})
    search = Search(planner, horizon=3, hold=hold)
    wanted = {"low": [2.0, -1.0], "high": [4.0, 0.0], "mean": [3.0, -0.5], "std": [1.0, 0.5]}
    expected = {name: torch.tensor(numbers).double().repeat(steps) for name, numbers in wanted.items()}
    expected |= {name: expected[name].expand(2, 3, -1) for name in ("mean", "std")}
    assert torch.equal(model.plan(SEEN[:2], SEEN[2], search).actions, expected["mean"])
    torch.testing.assert_close(planner.given, expected)
    start = torch.full_like(expected["mean"], 2.5)
    model.plan(SEEN[:2], SEEN[2], search, mean=start)
    torch.testing.assert_close(planner.given, expected | {"mean": start})


class Bounded(Constraint):
    """Actions must stay within -1 … 1, which nothing that is planned here breaks."""

    def violation(self, model: Model, goal: Goal) -> FutureCost:
        return lambda future: (future.actions.abs() - 1).clamp(min=0).sum(dim=(-2, -1))


@pytest.mark.parametrize("planner", [Amortised(), CEM(8, 2, 2)], ids=["proposed", "searched"])
@pytest.mark.parametrize("constraints", [(), (Bounded(),)], ids=["free", "constrained"])
def test_what_an_ensemble_does_not_know_has_its_price_in_every_plan(
    planner: Planner, constraints: tuple[Constraint, ...]
) -> None:
    model = made()
    search = Search(planner, horizon=3, terms=[Uncertainty(weight=2.0)], constraints=constraints)
    plan = model.plan(SEEN[:2], SEEN[2], search)
    ahead, goal = model.imagine(SEEN[:2], plan.actions.repeat(1, 1, 5)), model.encode(SEEN[2:, None])[:, 0]
    away = Distance().over_time(Distance().between(ahead.latents[:, None], goal))[:, 0]
    assert ahead.uncertainty is not None and ahead.uncertainty.min() > 0.01
    torch.testing.assert_close(plan.cost, away + 2 * ahead.uncertainty.mean(dim=-1), rtol=1e-6, atol=0)
