"""What every planner promises, on problems whose answer is known."""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from jepa_wm import planning
from jepa_wm.checkpoint import build, spec
from jepa_wm.contracts import Budget, Plan, Planner
from jepa_wm.errors import UserError
from jepa_wm.planning import Amortised, CategoricalCEM, Hybrid, RandomShooting
from jepa_wm.planning.costs import rejected

FILES = [path.stem for path in Path(inspect.getfile(planning)).parent.glob("*.py") if path.stem != "__init__"]
PLANNERS = [
    cls
    for stem in FILES
    for cls in vars(import_module(f"jepa_wm.planning.{stem}")).values()
    if inspect.isclass(cls) and hasattr(cls, "plan") and cls.__module__.endswith(stem) and not inspect.isabstract(cls)
]
EXPORTED = {cls.__name__ for cls in PLANNERS}


def documented() -> type:
    """The planner that the docs show how to write, as if it were in a file of the folder."""
    code = (Path(__file__).parents[2] / "docs" / "planning.md").read_text().split("```python\n")[-1].split("```")[0]
    module = ModuleType("jepa_wm.planning.hill_climbing")
    sys.modules[module.__name__] = module
    exec(code, vars(module))
    return module.HillClimbing


PLANNERS.append(documented())
DISCRETE = [CategoricalCEM]
CONTINUOUS = [cls for cls in PLANNERS if cls not in DISCRETE]
SEARCHING = [cls for cls in CONTINUOUS if cls is not RandomShooting and not hasattr(cls, "proposes")]
"""Those that find something from anywhere, without a proposal."""
SPENDING = [cls for cls in PLANNERS if cls is not Amortised]
"""Those that judge more than where they start."""
COUNTLESS = [Amortised, Hybrid]
"""Those that are made without a number of anything."""
Solve = Callable[..., Plan]


class Case(NamedTuple):
    """A planner, and what it plans: a start (5, 3, 4), what is best, and the least that an action can be."""

    planner: Planner
    start: Tensor
    target: Tensor
    low: float


@pytest.fixture(params=SPENDING, ids=lambda cls: cls.__name__)
def case(request: pytest.FixtureRequest) -> Case:
    generator = torch.Generator().manual_seed(7)
    if request.param in DISCRETE:
        chances = torch.rand(5, 3, 4, generator=generator)
        target = torch.eye(4)[torch.randint(4, (5, 3), generator=generator)]
        return Case(request.param(), chances / chances.sum(dim=-1, keepdim=True), target, 0.0)
    start, target = (torch.rand(5, 3, 4, generator=generator) * 1.8 - 0.9 for _ in range(2))
    return Case(request.param(), start, target, -1.0)


@pytest.fixture(params=CONTINUOUS, ids=lambda cls: cls.__name__)
def planner(request: pytest.FixtureRequest) -> Planner:
    return request.param()


@pytest.fixture(params=SEARCHING, ids=lambda cls: cls.__name__)
def searching(request: pytest.FixtureRequest) -> Planner:
    return request.param()


def test_every_planner_is_found_and_exported() -> None:
    assert set(planning.__all__) >= EXPORTED and len(EXPORTED) > 8


def test_it_finds_an_optimum_within_the_bounds(searching: Planner, quadratic: Callable, solve: Solve) -> None:
    target = torch.tensor([[[0.3, -0.6], [0.9, 0.1]], [[-0.8, 0.5], [0.0, -0.2]]])
    plan = solve(searching, quadratic(target), torch.zeros(2, 2, 2))
    assert (plan.actions - target).abs().max() < 0.1
    torch.testing.assert_close(plan.cost, (plan.actions - target).square().sum(dim=(1, 2)))


def test_it_beats_random_shooting_at_equal_evaluations(searching: Planner, quadratic: Callable, solve: Solve) -> None:
    target = torch.rand(3, 10, 4, generator=torch.Generator().manual_seed(7)) * 1.8 - 0.9
    start = torch.zeros_like(target)
    floor = solve(RandomShooting(), quadratic(target), start, Budget(evaluations=1500))
    found = solve(searching, quadratic(target), start, Budget(evaluations=1500))
    assert (found.cost < 0.5 * floor.cost).all()


def test_it_stops_at_the_bound_and_never_tries_beyond(planner: Planner, quadratic: Callable, solve: Solve) -> None:
    seen: list[Tensor] = []
    plan = solve(planner, quadratic(torch.full((1, 2, 2), 3.0), seen), torch.full((1, 2, 2), 5.0))
    assert all((tried.abs() <= 1).all() for tried in seen)
    assert (plan.actions == 1).all()


def test_a_start_at_the_optimum_is_kept(planner: Planner, quadratic: Callable, solve: Solve) -> None:
    target = torch.rand(2, 3, 2) - 0.5
    plan = solve(planner, quadratic(target), target)
    assert (plan.cost == 0).all() and torch.equal(plan.actions, target)


def test_the_unit_of_an_action_does_not_matter(searching: Planner, quadratic: Callable) -> None:
    target, unit = torch.tensor([[[0.3, -0.6], [0.9, 0.1]]]), torch.tensor([8.0, 0.25])
    tried: tuple[list[Tensor], list[Tensor]] = [], []
    for scale, seen in zip((torch.ones(2), unit), tried, strict=True):
        cost, generator = quadratic(target, seen), torch.Generator().manual_seed(0)
        searching.plan(
            lambda candidates, scale=scale, cost=cost: cost(candidates / scale),
            torch.zeros(1, 2, 2),
            scale.expand(1, 2, 2),
            -scale,
            scale,
            generator,
        )
    torch.testing.assert_close(torch.cat(tried[0], dim=1), torch.cat(tried[1], dim=1))


def test_what_is_tried_lies_within_the_bounds_and_the_best_of_it_is_the_plan(case: Case, solve: Solve) -> None:
    calls, tried = [0], []

    def fickle(candidates: Tensor) -> Tensor:
        costs = (candidates - 0.1).square().sum(dim=(2, 3)) + 10.0 * calls[0]
        calls[0] += 1
        tried.append((candidates.detach(), costs.detach()))
        return costs

    plan = solve(case.planner, fickle, case.start, low=case.low)
    candidates, costs = (torch.cat(parts, dim=1) for parts in zip(*tried, strict=True))
    assert (candidates >= case.low).all() and (candidates <= 1).all()
    least, first = costs.min(dim=1)
    torch.testing.assert_close(plan.cost, least)
    assert torch.equal(plan.actions, candidates[torch.arange(5), first])
    assert (plan.cost < 10.0).all()


def test_an_environment_is_planned_the_same_alone_and_in_a_batch(case: Case, quadratic: Callable, solve: Solve) -> None:
    batch = solve(case.planner, quadratic(case.target), case.start, low=case.low)
    for i in range(5):
        one = slice(i, i + 1)
        alone = solve(case.planner, quadratic(case.target[one]), case.start[one], low=case.low)
        torch.testing.assert_close(alone.actions[0], batch.actions[i])


def test_environments_with_seeds_of_their_own_are_planned_as_alone(
    case: Case, quadratic: Callable, solve: Solve
) -> None:
    seeds, tried = [3, 4, 3, 5, 4], list[Tensor]()
    batch = solve(case.planner, quadratic(case.target, tried), case.start, low=case.low, seed=seeds)
    for i, seed in enumerate(seeds):
        one, seen = slice(i, i + 1), list[Tensor]()
        alone = solve(case.planner, quadratic(case.target[one], seen), case.start[one], low=case.low, seed=seed)
        torch.testing.assert_close(alone.actions[0], batch.actions[i])
        torch.testing.assert_close(seen[0][0], tried[0][i])


def test_a_seed_gives_a_plan_and_another_one_tries_other_things(case: Case, quadratic: Callable, solve: Solve) -> None:
    runs = []
    for seed in (3, 3, 4):
        seen: list[Tensor] = []
        plan = solve(case.planner, quadratic(case.target, seen), case.start, low=case.low, seed=seed)
        runs.append((plan.actions, seen[0]))
    assert all(torch.equal(one, other) for one, other in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][1], runs[2][1])


def test_a_cost_in_another_unit_gives_the_same_plan(case: Case, quadratic: Callable, solve: Solve) -> None:
    cost = quadratic(case.target)
    plan = solve(case.planner, cost, case.start, low=case.low)
    for factor in (2.0**-20, 2.0**20):
        other = solve(case.planner, lambda candidates, by=factor: by * cost(candidates), case.start, low=case.low)
        torch.testing.assert_close(other.actions, plan.actions)


@pytest.mark.parametrize("evaluations", [1, 37, 3000])
def test_a_budget_of_evaluations_is_spent_to_the_last(
    case: Case, quadratic: Callable, solve: Solve, evaluations: int
) -> None:
    seen: list[Tensor] = []
    plan = solve(case.planner, quadratic(case.target, seen), case.start, Budget(evaluations), low=case.low)
    assert sum(tried.shape[1] for tried in seen) == evaluations
    assert plan.trace["evaluations"][-1] == evaluations


@pytest.mark.parametrize(("seconds", "rounds"), [(0.5, 1), (3.5, 3), (60.0, 60)])
def test_no_round_is_begun_that_would_not_end_in_time(
    case: Case, quadratic: Callable, solve: Solve, monkeypatch: pytest.MonkeyPatch, seconds: float, rounds: int
) -> None:
    clock, cost = [100.0], quadratic(case.target)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def slow(candidates: Tensor) -> Tensor:
        clock[0] += 1.0
        return cost(candidates)

    plan = solve(case.planner, slow, case.start, Budget(seconds=seconds), low=case.low)
    assert len(plan.trace["cost"]) == rounds
    assert plan.trace["seconds"].tolist() == list(range(1, rounds + 1))


def test_a_cost_that_is_no_number_never_wins_and_is_counted(case: Case, quadratic: Callable, solve: Solve) -> None:
    broken: list[Tensor] = []
    seen: list[Tensor] = []
    cost = quadratic(case.target, seen)

    def partly(candidates: Tensor) -> Tensor:
        broken.append((candidates[:, :, 0, 0] > 0.5).sum(dim=1))
        return cost(candidates) + 1e-9 * (0.5 - candidates[:, :, 0, 0]).sqrt()  # its gradient is no number either

    start = case.start.clone()
    start[:, 0, 0] = 0.0
    plan = solve(case.planner, partly, start, low=case.low)
    assert all(tried.isfinite().all() for tried in seen)
    assert (plan.actions[:, 0, 0] <= 0.5).all() and plan.cost.isfinite().all()
    assert torch.equal(plan.trace["nan"][-1], torch.stack(broken).sum(dim=0)) and (plan.trace["nan"][-1] > 0).all()
    assert plan.trace["spread"].isfinite().all() and plan.trace["elites"].isfinite().all()


class Forbidding:
    """Ten million times the distance to a target, and what is forbidden: to begin with much, and, in the last, all."""

    def __init__(self, target: Tensor, limit: float) -> None:
        self.target, self.limit, self.tried = target, limit, list[Tensor]()

    def __call__(self, candidates: Tensor) -> Tensor:
        return rejected(*self.parts(candidates))

    def parts(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        self.tried.append(candidates.detach())
        return self.judged(candidates)

    def judged(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        costs = 1e7 * (candidates - self.target[:, None]).square().sum(dim=(2, 3)) + 1e7
        last = torch.arange(len(candidates))[:, None] == len(candidates) - 1
        return costs, (candidates[:, :, 0, 0] - self.limit).clamp(min=0) + last


def test_what_breaks_a_constraint_never_wins_whatever_costs_are(case: Case, solve: Solve) -> None:
    target = case.target.clone()
    target[:, 0, 0] = 1.0
    cost = Forbidding(target, 0.3)
    plan = solve(case.planner, cost, case.start, low=case.low)
    tried = torch.cat(cost.tried, dim=1)
    costs, violations = cost.judged(tried)
    least = violations.amin(dim=1)
    best = costs.masked_fill(violations > least[:, None], torch.inf).argmin(dim=1)
    assert torch.equal(plan.actions, tried[torch.arange(5), best])
    assert plan.violation is not None and torch.equal(plan.violation, least)
    torch.testing.assert_close(plan.cost, costs[torch.arange(5), best])
    assert plan.broken.tolist() == [False, False, False, False, True]
    assert (plan.trace["violation"].diff(dim=0) <= 0).all()
    assert torch.equal(plan.trace["violation"][-1], least) and torch.equal(plan.trace["cost"][-1], plan.cost)


def test_without_constraints_nothing_is_broken_whatever_it_costs(case: Case, quadratic: Callable, solve: Solve) -> None:
    cost = quadratic(case.target)
    plan = solve(case.planner, lambda candidates: 1e30 + cost(candidates), case.start, low=case.low)
    assert plan.violation is None and not plan.broken.any() and plan.broken.shape == (5,)


def test_a_start_whose_cost_is_no_number_does_not_stop_the_search(searching: Planner, solve: Solve) -> None:
    def partly(candidates: Tensor) -> Tensor:
        costs = (candidates + 0.6).square().sum(dim=(2, 3))
        return costs.where(candidates[:, :, 0, 0] < -0.2, torch.nan)

    plan = solve(searching, partly, torch.zeros(2, 2, 2))
    assert (plan.actions + 0.6).abs().max() < 0.1


def test_an_environment_without_any_number_is_named(case: Case, quadratic: Callable, solve: Solve) -> None:
    cost, bad = quadratic(case.target), torch.tensor([0.0, 0.0, torch.nan, 0.0, 0.0])
    with pytest.raises(UserError, match=r"environments \[2\] are NaN"):
        solve(case.planner, lambda candidates: cost(candidates) + bad[:, None], case.start, low=case.low)


def test_the_trace_has_a_row_a_round(case: Case, quadratic: Callable, solve: Solve) -> None:
    seen: list[Tensor] = []
    plan = solve(case.planner, quadratic(case.target, seen), case.start, low=case.low)
    rounds, trace = getattr(case.planner, "planner", case.planner).iterations, plan.trace
    assert {name: tuple(rows.shape) for name, rows in trace.items()} == {
        **dict.fromkeys(("cost", "nan", "spread", "elites"), (rounds, 5)),
        **dict.fromkeys(("seconds", "evaluations"), (rounds,)),
    }
    assert (trace["cost"].diff(dim=0) <= 0).all() and torch.equal(trace["cost"][-1], plan.cost)
    assert (trace["elites"] >= trace["cost"]).all() and (trace["spread"] >= 0).all()
    # A mean that is fitted in the last round is judged after all others of that round.
    judged = torch.tensor([tried.shape[1] for tried in seen]).cumsum(0).tolist()
    assert trace["evaluations"].tolist() == [*judged[: rounds - 1], judged[-1]] and len(judged) <= rounds + 1
    assert (trace["seconds"].diff() >= 0).all()


@pytest.mark.parametrize("autocast", [False, True])
def test_a_model_is_left_without_gradients(case: Case, solve: Solve, autocast: bool) -> None:
    torch.manual_seed(0)
    model = nn.Linear(12, 6)

    def cost(candidates: Tensor) -> Tensor:
        return (model(candidates.flatten(2)) - 0.3).square().sum(dim=-1)

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        plan = solve(case.planner, cost, case.start, low=case.low)
        first = cost(plan.actions[:, None]).detach().float()[:, 0]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not plan.actions.requires_grad and not any(rows.requires_grad for rows in plan.trace.values())
    assert plan.actions.dtype == plan.cost.dtype == torch.float32
    torch.testing.assert_close(first, plan.cost, rtol=1e-2, atol=1e-2)
    assert (plan.cost <= plan.trace["cost"][0]).all() and plan.trace["cost"][0].isfinite().all()


def test_from_a_start_in_half_precision_the_search_is_in_float32(case: Case, quadratic: Callable) -> None:
    """As of a model in bfloat16, whose bounds are in it, too."""
    low, high = torch.full((4,), case.low), torch.ones(4)
    given = [part.bfloat16() for part in (case.start, torch.ones_like(case.start), low, high)]
    tried = list[Tensor](), list[Tensor]()
    plans = [
        case.planner.plan(quadratic(case.target, seen), *start, torch.Generator().manual_seed(0))
        for seen, start in zip(tried, (given, [part.float() for part in given]), strict=True)
    ]
    assert torch.equal(torch.cat(tried[0], dim=1), torch.cat(tried[1], dim=1))
    assert torch.equal(plans[0].actions, plans[1].actions) and torch.equal(plans[0].cost, plans[1].cost)


def test_a_configuration_makes_the_same_planner(case: Case) -> None:
    again = build(spec(case.planner))
    assert type(again) is type(case.planner) and spec(again) == spec(case.planner)


@pytest.mark.parametrize("cls", [cls for cls in PLANNERS if cls not in COUNTLESS], ids=lambda cls: cls.__name__)
def test_impossible_counts_are_refused(cls: type) -> None:
    arguments = inspect.signature(cls).parameters
    counts = [name for name, argument in arguments.items() if isinstance(argument.default, int)]
    assert counts
    for name in counts:
        with pytest.raises(UserError, match=rf"{cls.__name__}: got .*{name} 0.*; expected"):
            cls(**{name: 0})
