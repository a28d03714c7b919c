"""What a match counts and keeps: seconds, plans, looks at goals, starts that were left out, the frames of a film."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor, nn

from jepa_wm.contracts import Cost, FutureCost, Generators, Plan
from jepa_wm.control import Controller
from jepa_wm.control.count import played, write_films
from jepa_wm.control.evaluate import Outcome, make_world, play
from jepa_wm.control.films import SCALE
from jepa_wm.control.match import Match, Planned
from jepa_wm.control.results import trace_row
from jepa_wm.control.two_rooms_goals import RegionGoals, RoomGoals
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.heads import PixelHead
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.envs.language import region_of
from jepa_wm.envs.policies import NoOp
from jepa_wm.errors import UserError
from jepa_wm.goals import Constraint, Goal
from jepa_wm.goals.goal import Model
from jepa_wm.planning import CEM
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel
from tests.planners import Answering


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still unless its only number is changed."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


class Slow(Answering):
    """A planner that takes a second on the clock, which it tells of its search, and stays where it is."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def answer(self, cost: Cost, mean: Tensor, generator: Generators) -> Plan:
        self.clock[0] += 1
        trace = {"cost": torch.tensor([[self.clock[0], torch.inf, torch.nan]]), "evaluations": torch.tensor([3.0, 7.0])}
        return Plan(torch.zeros_like(mean), torch.zeros(len(mean)), trace)


def test_a_plan_takes_what_all_plans_took_over_all_of_their_number_and_the_first_is_kept(clock: list[float]) -> None:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    model = WorldModel(encoder, TransformerDynamics(6, trunk=Trunk(12, 1, 2))).eval()
    search, goals = Search(Slow(clock), 2), RoomGoals.sample(4, {}, 0)
    for parallel, seconds, each in ((None, [2 / 4] * 4, 1 / 4), (3, [2 / 3] * 3 + [2.0], 2 / 4)):
        began = clock[0]
        planned = Match(goals, 16, steps=10, parallel=parallel).planned(
            "slow", lambda goal, world: Controller(model, goal, search), 0
        )
        # Each batch plans twice, in steps 1 and 6.
        assert planned.seconds_per_plan == pytest.approx(1) and planned.seconds_each == pytest.approx(each)
        assert planned.evaluations == 7
        assert planned.outcome.seconds.tolist() == pytest.approx(seconds)
        assert trace_row(planned.first) == {"cost": [[began + 1, None, None]], "evaluations": [3, 7]}


class Rightwards(Answering):
    """A planner that goes to the right, and keeps what standing still costs in each environment."""

    def __init__(self) -> None:
        self.costs = list[list[float]]()

    def answer(self, cost: Cost, mean: Tensor, generator: Generators) -> Plan:
        self.costs.append(cost(torch.zeros_like(mean)[:, None])[:, 0].tolist())
        return Plan(torch.tensor([1.0, 0.0]).expand(mean.shape), torch.zeros(len(mean)), {})


def ahead(distances: list[float]) -> RoomGoals:
    """Goals so far to the right of their starts, in worlds that look different."""
    factors = {"agent_color": "sample", "agent_size": "sample", "floor_color_left": "sample"}
    drawn = RoomGoals.sample(len(distances), factors, 0)
    state = np.stack([np.full(len(distances), 0.1), np.linspace(0.2, 0.8, len(distances))], axis=1).astype(np.float32)
    goal = state + np.array(distances, np.float32)[:, None] * np.array([1, 0], np.float32)
    return RoomGoals(state, goal, drawn.factors, 0)


def test_an_episode_that_is_over_makes_room_for_the_next_when_plans_are_due() -> None:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    model = WorldModel(encoder, TransformerDynamics(6, trunk=Trunk(12, 1, 2))).eval().double()

    def costs(parallel: int | None, stop: bool) -> list[list[float]]:
        # One step or two are enough, but for the second, which is never there.
        match = Match(ahead([0.09, 0.8, 0.12, 0.09, 0.12, 0.09]), 16, 20, stop=stop, parallel=parallel)
        planner = Rightwards()
        planned = match.planned("right", lambda goal, world: Controller(model, goal, Search(planner, 2), 0, world), 0)
        assert planned.outcome.first.tolist() == [1, 0, 2, 1, 2, 1]
        return planner.costs

    together = costs(None, True)[0]
    two = costs(2, True)
    assert [len(each) for each in two] == [2, 2, 2, 2, 1]
    # Each towards its own goal.
    assert [each[0] for each in two] == pytest.approx([together[i] for i in (0, 2, 3, 4, 5)])
    assert min(abs(a - b) for i, a in enumerate(together) for b in together[:i]) > 1e-4 * max(together)
    assert [len(each) for each in costs(2, False)] == [2] * 12


def test_an_episode_goes_as_it_would_alone_whatever_is_played_beside_it_or_before() -> None:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    heads: dict[str, nn.Module] = {"looks": PixelHead(6, size=16, width=4)}
    dynamics = TransformerDynamics(6, trunk=Trunk(12, 1, 2))
    with torch.no_grad():
        for parameter in dynamics.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    # In bfloat16 the cost of one candidate is rounded otherwise than that of three.
    model = WorldModel(encoder, dynamics, heads=heads).eval().double()
    goals, search = ahead([0.1, 0.15, 0.13, 0.6, 0.12, 0.15, 0.11]), Search(CEM(8, 3, 2), 2)
    together, *others = (
        Match(goals, 16, steps=17, parallel=parallel).planned(
            "cem", lambda goal, world: Controller(model, goal, search, 3, world), films=6
        )
        for parallel in (None, 1, 2, 3)
    )
    # Not all end together, or nothing would follow anything.
    assert len(set(together.outcome.first.tolist())) > 2
    for other in others:
        for name in ("states", "reached", "frames"):
            np.testing.assert_array_equal(getattr(other.outcome, name), getattr(together.outcome, name))
        np.testing.assert_array_equal(other.imagined, together.imagined)


class Never(Constraint):
    """What is broken whatever is done, but in the first environment."""

    def violation(self, model: Model, goal: Goal) -> FutureCost:
        return lambda future: torch.arange(len(future.actions))[:, None].expand(future.actions.shape[:2])


@pytest.mark.parametrize(("constraints", "broken"), [([], 0), ([Never()], 2 * 3)])
def test_plans_that_break_a_constraint_are_counted(constraints: list[Constraint], broken: int) -> None:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    model = WorldModel(encoder, TransformerDynamics(6, trunk=Trunk(12, 1, 2))).eval()
    search = Search(CEM(4, 2, 1), 2, constraints=constraints)
    match = Match(RoomGoals.sample(4, {}, 0), 16, steps=10, stop=False)
    seen = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    assert model.plan(seen, seen[0], search).broken.tolist() == [False, *[broken > 0] * 3]
    makers = {"cem": lambda goal, world: Controller(model, goal, search)}
    row, *_ = played(match, makers, 0, 0)[-1]
    # Of the plans in steps 1 and 6.
    assert row["policy"] == "cem" and row["broken_plans"] == broken


def test_the_seconds_of_a_step_are_shared_by_the_episodes_that_go_on(clock: list[float]) -> None:
    drawn = RoomGoals.sample(3, {}, 0)
    state = np.array([[0.1, 0.2], [0.1, 0.4], [0.1, 0.8]], np.float32)
    ahead = np.array([[0.09, 0], [0.12, 0], [0.8, 0]], np.float32)
    goals = RoomGoals(state, state + ahead, drawn.factors, 0)

    def act(pixels: np.ndarray, active: np.ndarray, state: np.ndarray) -> np.ndarray:
        clock[0] += 6
        return np.tile(np.array([[1, 0]], np.float32), (3, 1))

    world = make_world(goals, 8)
    stopped, free = (play(world, goals, act, 4, stop, "") for stop in (True, False))
    assert stopped.first.tolist() == free.first.tolist() == [1, 2, 0]
    assert stopped.seconds.tolist() == [2, 2 + 3, 2 + 3 + 6 + 6]
    assert free.seconds.tolist() == [8, 8, 8]


def test_regions_that_there_are_not_are_refused() -> None:
    drawn = RegionGoals.sample(3, {}, 0)
    with pytest.raises(UserError, match=r"got regions \[0, 17, 18\]; expected .*0 to 17"):
        RegionGoals(drawn.state, drawn.goal, drawn.factors, 0, np.array([0, 17, 18])).check()


def test_places_are_looked_at_as_often_as_asked_and_regions_after_each_step() -> None:
    drawn = RoomGoals.sample(3, {}, 0)
    places = RoomGoals(drawn.state, drawn.state, drawn.factors, 0)
    regions = RegionGoals(drawn.state, drawn.goal, drawn.factors, 0, region_of(drawn.state))
    for goals, looks in ((places, [2, 4, 5]), (regions, [1, 2, 3, 4, 5])):
        reached = Match(goals, 8, steps=5, check=2, stop=False).scripted("noop", NoOp()).reached
        assert reached.tolist() == [[step in looks for step in range(1, 6)]] * 3


def test_the_row_of_a_policy_tells_how_many_starts_were_left_out() -> None:
    drawn = RoomGoals.sample(3, {}, 0)
    match = Match(RoomGoals(drawn.state, drawn.goal, drawn.factors, 7), 8, steps=2)
    row, episodes = match.rows("noop", match.scripted("noop", NoOp()))
    assert (row["excluded"], row["episodes"], len(episodes)) == (7, 3, 3)


@pytest.mark.parametrize("stop", [True, False])
def test_a_film_ends_with_the_frame_in_which_its_goal_is_met(stop: bool, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 3, 8, 8), dtype=np.uint8)
    reached = np.array([[False, True, stop, stop], [False] * 4, [True, stop, stop, stop]])
    outcome = Outcome(np.zeros((3, 5, 2)), reached, np.zeros(3), frames)
    match = Match(RoomGoals.sample(3, {}, 0), 8, steps=4, stop=stop)
    told = write_films(tmp_path, match, Planned(outcome))
    assert [film["success"] for film in told] == [True, False, True]
    for film, own, length in zip(told, frames, (3, 5, 2) if stop else (5, 5, 5), strict=True):
        with Image.open(tmp_path / film["file"]) as opened:
            pages = np.stack([np.asarray(page.convert("RGB")) for page in ImageSequence.Iterator(opened)])
        shown = pages[:, SCALE // 2 :: SCALE, SCALE // 2 :: SCALE].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(shown[..., :8], own[:length])
