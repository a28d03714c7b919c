"""Our models under solvers of stable-worldmodel's kind, and our planners in their place; it need not be installed."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from jepa_wm.contracts import Budget, Planner
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.encoders import GridPool, StateFrames, ViT
from jepa_wm.encoders.frames import PooledFrames
from jepa_wm.errors import UserError
from jepa_wm.goals import Image
from jepa_wm.interop.cost import SolverCost
from jepa_wm.interop.solver import PlannerSolver, expanded
from jepa_wm.interop.units import ActionUnits
from jepa_wm.observations import Observation
from jepa_wm.planning import CEM, Amortised, AugmentedLagrangian, CategoricalCEM, Hybrid
from jepa_wm.planning.costs import Distance
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

LAST = Distance(final=1.0)
LOW, HIGH = [-1.0, -2.0], [1.0, 6.0]
STATISTICS = {"action_mean": [0.0, 2.0], "action_std": [0.5, 2.0], "action_bounds": (LOW, HIGH)}


def made(low: list[float] = LOW, high: list[float] = HIGH) -> WorldModel:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    dynamics, bounds = TransformerDynamics(6, action_dim=2, frame_skip=3, trunk=Trunk(12, 1, 2)), ActionBounds(2, 3)
    for part in (dynamics, bounds):
        part.prepare(STATISTICS | {"action_bounds": (low, high)})
    for weight in dynamics.parameters():
        torch.nn.init.normal_(weight, std=0.3)  # else actions matter for nothing, as training begins
    return WorldModel(encoder, dynamics, bounds=bounds).eval()


def test_an_action_that_may_not_move_stays_where_it_is() -> None:
    units = ActionUnits.of(made([-1.0, 0.5], [1.0, 0.5]))
    assert units.inverse_transform(np.array([[0.5, 2.0], [-3.0, -2.0]])).tolist() == [[0.5, 0.5], [-1.0, 0.5]]
    assert units.transform(np.array([[0.5, 0.5]])).tolist() == [[0.5, 0.0]]


def seen(environments: int = 2) -> dict[str, Tensor]:
    """What their policy hands to a solver: (E, T, H, W, C), T being 1."""
    draw = torch.Generator().manual_seed(1)
    shape = environments, 1, 16, 16, 3
    return {name: torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw) for name in ("pixels", "goal")}


def pictures(info: dict[str, Tensor], name: str) -> Tensor:
    return info[name][:, 0].permute(0, 3, 1, 2)


@torch.no_grad()
def test_candidates_cost_what_the_model_says_of_the_actions_that_they_stand_for() -> None:
    model, info = made(), seen()
    units, solver_info = ActionUnits([0.5, 1.0], [0.1, 2.0], LOW, HIGH), expanded(info, 4)
    cost = SolverCost(model, units)
    own = model.action_cost(
        model.latents_of(Observation(pictures(info, "pixels"))), pictures(info, "goal"), Search(distance=LAST)
    )
    for seed in (0, 1):
        candidates = torch.rand(2, 4, 5, 6, generator=torch.Generator().manual_seed(seed)) - 0.5
        actions = candidates * torch.tensor([0.1, 2.0] * 3) + torch.tensor([0.5, 1.0] * 3)
        torch.testing.assert_close(cost.get_cost(solver_info, candidates), own(actions))


@torch.no_grad()
def test_what_lies_outside_the_bounds_costs_what_is_carried_out() -> None:
    model = made()
    units, info = ActionUnits.of(model), expanded(seen(), 1)
    candidates = torch.tensor([3.0, -1.5]).repeat(2, 1, 4, 3)
    carried_out = units.inverse_transform(candidates.numpy().reshape(-1, 2))
    assert (carried_out == [1.0, -2.0]).all()
    np.testing.assert_allclose(
        units.inverse_transform(units.transform(np.array([[0.3, 5.0]]))), [[0.3, 5.0]], rtol=1e-6
    )
    at_bounds = torch.from_numpy(units.transform(carried_out)).reshape(candidates.shape)
    cost = SolverCost(model)
    torch.testing.assert_close(cost.get_cost(info, candidates), cost.get_cost(info, at_bounds))
    assert not torch.allclose(cost.get_cost(info, candidates), cost.get_cost(info, at_bounds / 2))


@torch.no_grad()
def test_a_state_is_read_where_the_model_wants_one() -> None:
    torch.manual_seed(0)
    encoder, frames = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2)), StateFrames(PooledFrames(), 2, 4)
    frames.prepare({"state_mean": [0.0, 0.0], "state_std": [1.0, 1.0]})
    model = WorldModel(encoder, TransformerDynamics(10, frame_skip=3, trunk=Trunk(12, 1, 2)), frames=frames).eval()
    info = seen() | {"where": torch.randn(2, 1, 2), "goal_where": torch.randn(2, 1, 2)}
    candidates = torch.rand(2, 4, 5, 6)
    search, felt = Search(distance=LAST), Observation(pictures(info, "pixels"), info["where"][:, 0])
    own = model.action_cost(
        model.latents_of(felt), Observation(pictures(info, "goal"), info["goal_where"][:, 0]), search
    )
    torch.testing.assert_close(
        SolverCost(model, state="where").get_cost(expanded(info, 4), candidates), own(candidates)
    )


def test_solvers_that_follow_the_slope_get_one() -> None:
    candidates = torch.zeros(2, 1, 4, 6, requires_grad=True)
    SolverCost(made()).get_cost(expanded(seen(), 1), candidates).sum().backward()
    assert candidates.grad is not None and candidates.grad.abs().min() > 0


def test_what_a_solver_cannot_be_answered_says_why() -> None:
    cost, info = SolverCost(made()), expanded(seen(), 1)
    with pytest.raises(UserError, match=r"candidates of 2 numbers; expected 6: set PlanConfig\(action_block=3\)"):
        cost.get_cost(info, torch.zeros(2, 1, 4, 2))
    with pytest.raises(UserError, match=r"got nothing as 'goal'; .* evaluate with a data set"):
        cost.get_cost({"pixels": info["pixels"]}, torch.zeros(2, 1, 4, 6))
    with pytest.raises(UserError, match=r"got torch\.float32 as 'pixels'.*leave transform out"):
        cost.get_cost(info | {"pixels": info["pixels"] / 255}, torch.zeros(2, 1, 4, 6))
    with pytest.raises(UserError, match="got no numbers as 'where'; expected one of pixels, goal"):
        SolverCost(made(), state="where").get_cost(expanded(seen(), 1), torch.zeros(2, 1, 4, 6))
    with pytest.raises(UserError, match="std above 0"):
        ActionUnits([0.0], [0.0], [-1.0], [1.0])


def solver_of(
    model: object, planner: CEM, units: ActionUnits, budget: Budget | None = None, batch: int | None = None
) -> PlannerSolver:
    solver = PlannerSolver(model, planner, units, 3, batch, budget)  # type: ignore[arg-type]
    config = SimpleNamespace(horizon=4, action_block=3)
    solver.configure(action_space=spaces.Box(-9, 9, (2, 2)), n_envs=2, config=config)
    return solver


@pytest.mark.parametrize(
    ("planner", "said"),
    [
        (Amortised(), "Amortised, which starts from what a model proposes"),
        (AugmentedLagrangian(Hybrid()), "AugmentedLagrangian, which starts from what a model proposes"),
        (CategoricalCEM(8, 2, 1), "CategoricalCEM, which makes choices"),
    ],
)
def test_a_planner_that_a_solver_cannot_ask_is_refused(planner: Planner, said: str) -> None:
    with pytest.raises(UserError, match=f"got {said}; expected .*CEM"):
        PlannerSolver(SolverCost(made()), planner, ActionUnits.of(made()))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-9, 9, (2, 3)),
        spaces.Box(np.float32([LOW, LOW]), np.float32([HIGH, [1, 5]])),
        spaces.Box(np.float32([LOW, [-0.5, -2]]), np.float32([HIGH, HIGH])),
        spaces.MultiDiscrete([2, 2]),
    ],
    ids=["wider", "lower", "higher", "choices"],
)
def test_units_of_other_actions_are_refused_at_once(space: spaces.Space) -> None:
    solver, config = PlannerSolver(Least(), CEM(8, 2, 1), ActionUnits.of(made())), SimpleNamespace(horizon=4)
    config.action_block = 3
    with pytest.raises(UserError, match=r"(?s)got an action space .*expected of each environment the 2 numbers"):
        solver.configure(action_space=space, n_envs=2, config=config)
    solver.configure(action_space=spaces.Box(np.float32([LOW, LOW]), np.float32([HIGH, HIGH])), n_envs=2, config=config)


@torch.no_grad()
def test_a_planner_in_a_solvers_place_plans_as_it_does_in_its_own() -> None:
    # Where the bounds are -1 and 1, a solver's numbers are actions.
    model, info, planner = made([-1.0, -1.0], [1.0, 1.0]), seen(), CEM(32, 4, 3)
    found = solver_of(SolverCost(model), planner, ActionUnits.of(model)).solve(info)
    search = Search(planner, horizon=4, hold=False, distance=LAST)
    cost = model.action_cost(
        model.latents_of(Observation(pictures(info, "pixels"))), Image(Observation(pictures(info, "goal"))), search
    )
    mean, low = torch.zeros(2, 4, 6), -torch.ones(6)
    own = planner.plan(cost, mean, torch.ones_like(mean), low, -low, torch.Generator().manual_seed(3))
    torch.testing.assert_close(found["actions"], own.actions)
    torch.testing.assert_close(torch.tensor(found["costs"]), own.cost)


class Least:
    """Candidates cost their distance to what is seen; as their models do it keeps in the info what it has encoded."""

    def get_cost(self, info_dict: dict, action_candidates: Tensor) -> Tensor:
        wanted = info_dict.setdefault("emb", info_dict["wanted"].clone())
        assert wanted.shape[:2] == action_candidates.shape[:2] and wanted.dtype == torch.float32
        return (action_candidates - wanted).square().sum(dim=(-2, -1))


def test_each_plan_is_searched_for_with_a_seed_of_its_own() -> None:
    info, units = {"wanted": torch.ones(2, 4, 6)}, ActionUnits([0.0, 2.0], [0.5, 4.0], LOW, HIGH)
    solver, again, later = (solver_of(Least(), CEM(64, 8, 2), units) for _ in range(3))
    later.seed += 1
    found = [solver(info)["actions"] for _ in range(2)]
    assert torch.equal(again(info)["actions"], found[0]) and not torch.equal(*found)
    assert torch.equal(later(info)["actions"], found[1])


def test_a_planner_searches_another_packages_model_within_the_bounds() -> None:
    units = ActionUnits([0.0, 2.0], [0.5, 4.0], LOW, HIGH)  # in these units the bounds are -2 and 2, -1 and 1
    wanted = torch.tensor([1.5, 0.8] * 3).repeat(2, 4, 1).double()
    wanted[1, :, 0] = 7
    info = {"wanted": wanted, "names": ["a", "b"], "more": np.zeros((2, 1))}
    solver = solver_of(Least(), CEM(400, 40, 30), units, Budget(evaluations=11950))
    found = solver(info)
    torch.testing.assert_close(found["actions"], wanted.float().clamp(max=2.0), atol=0.25, rtol=0)
    assert found["actions"][1, :, 0].max() <= 2
    assert found["trace"]["evaluations"][-1] == 11950
    alone = solver_of(Least(), CEM(400, 40, 30), units, Budget(evaluations=11950), batch=1)
    torch.testing.assert_close(alone(info)["actions"], found["actions"])
    short = solver_of(Least(), CEM(1, 1, 1), units)
    torch.testing.assert_close(short.solve(info, found["actions"][:, :1])["actions"][:, :1], found["actions"][:, :1])
