"""Planners on problems whose answer is known."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jepa_wm import planning
from jepa_wm.contracts import Cost, Plan
from jepa_wm.errors import UserError
from jepa_wm.planning import CEM
from jepa_wm.planning.costs import dissimilarity, goal_distance

FILES = [path.stem for path in Path(inspect.getfile(planning)).parent.glob("*.py") if path.stem != "__init__"]
PLANNERS = [
    cls
    for stem in FILES
    for cls in vars(import_module(f"jepa_wm.planning.{stem}")).values()
    if inspect.isclass(cls) and hasattr(cls, "plan") and cls.__module__.endswith(stem)
]
LOW, HIGH = torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0])


def quadratic(target: Tensor, seen: list[Tensor] | None = None) -> Cost:
    def cost(candidates: Tensor) -> Tensor:
        if seen is not None:
            seen.append(candidates)
        return (candidates - target[:, None]).square().sum(dim=(2, 3))

    return cost


def search(planner: CEM, cost: Cost, mean: Tensor) -> Plan:
    generator = torch.Generator().manual_seed(0)
    return planner.plan(cost, mean, torch.ones_like(mean), LOW, HIGH, generator)


@pytest.fixture(params=PLANNERS, ids=lambda cls: cls.__name__)
def planner(request: pytest.FixtureRequest) -> CEM:
    made: CEM = request.param()
    return made


def test_it_finds_an_optimum_within_the_bounds(planner: CEM) -> None:
    target = torch.tensor([[[0.3, -0.6], [0.9, 0.1]], [[-0.8, 0.5], [0.0, -0.2]]])
    plan = search(planner, quadratic(target), torch.zeros(2, 2, 2))
    assert (plan.actions - target).abs().max() < 0.15
    torch.testing.assert_close(plan.cost, (plan.actions - target).square().sum(dim=(1, 2)))


def test_it_stops_at_the_bound_and_never_tries_beyond(planner: CEM) -> None:
    seen: list[Tensor] = []
    plan = search(planner, quadratic(torch.full((1, 2, 2), 3.0), seen), torch.full((1, 2, 2), 5.0))
    assert all((tried >= LOW).all() and (tried <= HIGH).all() for tried in seen)
    assert (plan.actions > 0.9).all() and (plan.actions <= HIGH).all()


def test_the_plan_is_the_best_candidate_that_was_ever_tried(planner: CEM) -> None:
    calls, tried = [0], []

    def fickle(candidates: Tensor) -> Tensor:
        costs = candidates.square().sum(dim=(2, 3)) + 10.0 * calls[0]
        calls[0] += 1
        tried.append(costs)
        return costs

    plan = search(planner, fickle, torch.full((2, 3, 2), 0.7))
    torch.testing.assert_close(plan.cost, torch.cat(tried, dim=1).amin(dim=1))
    assert (plan.cost < 10.0).all()


def test_an_environment_is_planned_the_same_alone_and_in_a_batch(planner: CEM) -> None:
    target = torch.rand(5, 3, 2) * 2 - 1
    batch = search(planner, quadratic(target), torch.zeros(5, 3, 2))
    for i in range(5):
        alone = search(planner, quadratic(target[i : i + 1]), torch.zeros(1, 3, 2))
        torch.testing.assert_close(alone.actions[0], batch.actions[i])


def test_a_start_at_the_optimum_is_kept(planner: CEM) -> None:
    target = torch.rand(2, 3, 2) - 0.5
    plan = search(planner, quadratic(target), target)
    assert (plan.cost == 0).all() and torch.equal(plan.actions, target)


def test_the_spread_falls_and_the_cost_never_rises() -> None:
    trace = search(CEM(), quadratic(torch.full((2, 2, 2), 0.4)), torch.zeros(2, 2, 2)).trace
    assert (trace["cost"].diff(dim=0) <= 0).all()
    assert (trace["spread"][-1] < trace["spread"][0]).all()


@pytest.mark.parametrize("counts", [{"elites": 0}, {"samples": 5, "elites": 6}, {"iterations": 0}])
def test_impossible_counts_are_refused(counts: dict[str, int]) -> None:
    with pytest.raises(UserError, match="elites"):
        CEM(**counts)


@pytest.mark.parametrize(("final", "expected"), [(1.0, 9.0), (0.0, 14 / 3), (0.5, (9 + 14 / 3) / 2)])
def test_goal_distance_weighs_the_last_step_and_the_mean(final: float, expected: float) -> None:
    latents = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1, 1).expand(1, 1, 3, 2, 4)
    assert goal_distance(torch.zeros(1, 2, 4), final)(latents).item() == pytest.approx(expected)


def test_dissimilarity_is_lowest_where_the_similarity_is_highest() -> None:
    latents = torch.tensor([[[0.1, 0.2], [0.5, 0.9]]]).reshape(1, 2, 2, 1, 1)
    cost = dissimilarity(lambda z: z.flatten(3).squeeze(3))(latents)
    torch.testing.assert_close(cost, torch.tensor([[0.8, 0.1]]))
