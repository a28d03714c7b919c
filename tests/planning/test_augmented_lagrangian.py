"""An augmented Lagrangian on problems whose answer and multiplier are known."""

import pytest
import torch
from torch import Tensor

from jepa_wm.contracts import Budget, Cost, Generators, Plan
from jepa_wm.errors import UserError
from jepa_wm.planning import CEM, AugmentedLagrangian
from jepa_wm.planning.costs import FORBIDDEN, rejected
from tests.planners import Answering

LOW, HIGH = torch.tensor([-2.0]), torch.tensor([2.0])
FINE = CEM(samples=64, elites=8, iterations=20, min_std=1e-4)


class AtLeast:
    """The least x² with x at least so much in each environment; each x that was tried is kept."""

    def __init__(self, least: Tensor) -> None:
        self.least, self.tried = least, list[Tensor]()

    def __call__(self, candidates: Tensor) -> Tensor:
        return rejected(*self.parts(candidates))

    def parts(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        x = candidates[:, :, 0, 0]
        self.tried.append(x)
        return x.square(), (self.least[:, None] - x).clamp(min=0)


def start(environments: int) -> tuple[Tensor, Tensor, Tensor, Tensor, torch.Generator]:
    mean = torch.zeros(environments, 1, 1)
    return mean, torch.ones_like(mean), LOW, HIGH, torch.Generator().manual_seed(0)


def test_multipliers_follow_their_recursion_to_the_known_one() -> None:
    plan = AugmentedLagrangian(FINE, rounds=4, penalty=1.0, growth=10.0).plan(AtLeast(torch.tensor([0.5])), *start(1))
    # x² + m·v + p/2·v² with v = 1/2 - x is least at x = (p/2 + m) / (2 + p); the exact multiplier is 2 · 1/2.
    expected = [0.0]
    for penalty in (1.0, 10.0, 100.0):
        violation = 0.5 - (penalty / 2 + expected[-1]) / (2 + penalty)
        expected.append(expected[-1] + penalty * violation)
    found = plan.trace["multiplier"][:, 0]
    torch.testing.assert_close(found, torch.tensor(expected).repeat_interleave(20), atol=0.02, rtol=0)
    assert expected[-1] == pytest.approx(1.0, abs=3e-3)


def test_the_trace_is_of_all_searches_and_its_cost_of_the_best_in_any() -> None:
    cost = AtLeast(torch.tensor([0.5, -1.0, 3.0]))
    plan = AugmentedLagrangian(CEM(samples=20, elites=5, iterations=3), rounds=2).plan(cost, *start(3))
    trace, tried = plan.trace, [torch.cat(cost.tried[: 4 * i + j], dim=1) for i in (0, 1) for j in (1, 2, 4)]
    # The mean that is fitted last is judged by itself.
    assert trace["evaluations"].tolist() == [20, 40, 60, 80, 100, 120] == [x.shape[1] for x in tried]
    assert {len(rows) for rows in trace.values()} == {6} and (trace["seconds"].diff() >= 0).all()
    assert (trace["spread"] > 0).all() and trace["elites"].isfinite().all()
    for row, x in enumerate(tried):
        violation = (cost.least[:, None] - x).clamp(min=0)
        least = violation.amin(dim=1)
        best = x.square().masked_fill(violation > least[:, None], torch.inf).amin(dim=1)
        torch.testing.assert_close(trace["violation"][row], least)
        torch.testing.assert_close(trace["cost"][row], best)
    assert torch.equal(trace["cost"][-1], plan.cost) and torch.equal(trace["violation"][-1], plan.violation)


def test_the_answer_is_the_best_that_breaks_nothing() -> None:
    cost = AtLeast(torch.tensor([0.5, -1.0, 1.5]))
    plan = AugmentedLagrangian(FINE).plan(cost, *start(3))
    assert (cost.parts(plan.actions[:, None])[1] == 0).all()
    torch.testing.assert_close(plan.actions[:, 0, 0], torch.tensor([0.5, 0.0, 1.5]), atol=0.02, rtol=0)
    torch.testing.assert_close(plan.cost, plan.actions[:, 0, 0].square())


class Pacing(Answering):
    """A search that judges where it starts, and answers what lies a fifth beyond."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def answer(self, cost: Cost, mean: Tensor, generator: Generators) -> Plan:
        self.starts.append(mean.item())
        return Plan(mean + 0.2, cost(mean[:, None])[:, 0], {})


def test_each_search_starts_from_the_answer_of_the_one_before() -> None:
    pacing = Pacing()
    plan = AugmentedLagrangian(pacing, rounds=4).plan(AtLeast(torch.tensor([0.5])), *start(1))
    assert pacing.starts == pytest.approx([0, 0.2, 0.4, 0.6])
    assert plan.actions.item() == pytest.approx(0.6)


def test_where_nothing_keeps_the_constraint_the_least_breach_is_the_answer() -> None:
    plan = AugmentedLagrangian(FINE).plan(AtLeast(torch.tensor([3.0])), *start(1))
    assert plan.actions.item() == pytest.approx(2.0, abs=1e-3)
    assert plan.violation is not None and plan.violation.item() == pytest.approx(1.0, abs=1e-3)
    assert plan.cost.item() == pytest.approx(4.0, abs=0.01) and plan.broken.all()


def test_an_environment_is_planned_the_same_alone_and_in_a_batch() -> None:
    least = torch.tensor([0.5, -1.0, 1.5])
    batch = AugmentedLagrangian().plan(AtLeast(least), *start(3))
    for i in range(3):
        alone = AugmentedLagrangian().plan(AtLeast(least[i : i + 1]), *start(1))
        torch.testing.assert_close(alone.actions[0], batch.actions[i])


def test_a_cost_without_constraints_is_searched_once() -> None:
    def square(candidates: Tensor) -> Tensor:
        return (candidates - 0.3).square().sum(dim=(2, 3))

    plan, alone = AugmentedLagrangian(FINE).plan(square, *start(2)), FINE.plan(square, *start(2))
    assert torch.equal(plan.actions, alone.actions) and plan.trace.keys() == alone.trace.keys()


@pytest.mark.parametrize("evaluations", [1, 3, 250])
def test_a_budget_is_shared_out_and_spent(evaluations: int) -> None:
    cost = AtLeast(torch.tensor([0.5]))
    plan = AugmentedLagrangian(CEM(samples=20, elites=5)).plan(cost, *start(1), Budget(evaluations=evaluations))
    assert sum(tried.shape[1] for tried in cost.tried) == evaluations == plan.trace["evaluations"][-1]
    assert len(plan.trace["multiplier"].unique()) == min(evaluations, 4)


@pytest.mark.parametrize(("seconds", "rounds"), [(1e-6, 1), (1.5, 1), (2.5, 2), (3.5, 3), (8.5, 8)])
def test_a_budget_in_seconds_is_kept_and_has_one_round_in_any_case(
    monkeypatch: pytest.MonkeyPatch, seconds: float, rounds: int
) -> None:
    clock, cost, judged = [100.0], AtLeast(torch.tensor([0.5])), list[int]()
    parts = cost.parts

    def now() -> float:
        clock[0] += 1e-5  # What is between two rounds takes time, too.
        return clock[0]

    def slow(candidates: Tensor) -> tuple[Tensor, Tensor]:
        clock[0] += 1.0
        judged.append(candidates.shape[1])
        return parts(candidates)

    monkeypatch.setattr("time.perf_counter", now)
    monkeypatch.setattr(cost, "parts", slow)
    AugmentedLagrangian(CEM(samples=20, elites=5)).plan(cost, *start(1), Budget(seconds=seconds))
    assert len(judged) == rounds


def test_a_breach_that_is_no_number_never_wins() -> None:
    costs, violations = torch.tensor([1.0, 5.0, 2.0]), torch.tensor([float("nan"), 0.0, 0.1])
    found = rejected(costs, violations)
    assert found[0].isnan() and found[1:].tolist() == pytest.approx([5.0, FORBIDDEN * 1.1])


def test_a_cost_that_is_no_number_is_no_breach() -> None:
    found = rejected(torch.tensor([float("nan"), float("nan"), 1.0]), torch.tensor([0.0, 0.5, 0.5]))
    assert found[:2].isnan().all() and found[2].item() == pytest.approx(FORBIDDEN * 1.5)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"penalty": 0.0}, {"penalty": float("nan")}, {"growth": 0.5}])
def test_what_makes_no_search_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match="AugmentedLagrangian: got rounds"):
        AugmentedLagrangian(**wrong)
