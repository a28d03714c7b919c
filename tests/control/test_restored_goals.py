"""Any environment that can be put at a recorded state can be planned in, by what it says of its goals."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from jepa_wm.checkpoint import save_modules
from jepa_wm.contracts import Cost, Generators, Plan
from jepa_wm.control.collect import collect
from jepa_wm.control.controller import Controller
from jepa_wm.control.evaluate import make_world, play
from jepa_wm.control.goal_kinds import draw_goals, read_goals
from jepa_wm.control.goals import GoalSet, Task
from jepa_wm.control.match import Match
from jepa_wm.control.plan import plan
from jepa_wm.control.restored_world import simulator
from jepa_wm.control.spaces import narrow
from jepa_wm.data import EpisodeShards
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.errors import UserError
from jepa_wm.files import write_json
from jepa_wm.manifest import write_manifest
from jepa_wm.planning import CEM
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel
from tests.control.cart import CART, Cart
from tests.planners import Answering

AHEAD, STEPS = 5, 8
TASK = Task(ahead=AHEAD)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("carts") / "shards"
    collect(str(folder), 12, 14, 16, CART, held_out=0.7, codec="png", seed=2)
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that has learned nothing."""
    folder = tmp_path_factory.mktemp("run") / "forecast"
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    dynamics = TransformerDynamics(6, frame_skip=2, trunk=Trunk(12, 1, 2))
    save_modules(folder / "model", {"encoder": encoder, "dynamics": dynamics})
    write_manifest(folder, "forecast")
    return str(folder)


def drawn(data: str, episodes: int = 6, seed: int = 1) -> GoalSet:
    return draw_goals(CART, "image", data, episodes, seed, TASK)


def test_goals_are_what_held_out_episodes_came_to_and_those_that_are_met_are_counted(data: str) -> None:
    goals, episodes = drawn(data, 12), {episode.id: episode for episode in EpisodeShards(data, "test")}
    for i, (name, time) in enumerate(zip(goals.episode.tolist(), goals.time.tolist(), strict=True)):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(goals.state[i], episodes[name].state[time])
        np.testing.assert_array_equal(goals.goal[i], episodes[name].state[time + AHEAD])
    away = np.abs(goals.state - goals.goal).max(axis=1)
    assert (away >= 0.1).all()
    near = np.where(np.arange(12)[:, None] % 3 == 0, goals.state + np.float32(0.09), goals.goal)
    found = type(goals)(**{**vars(goals), "goal": near, "excluded": 2}).open(5)
    np.testing.assert_array_equal(found.state, goals.state[[1, 2, 4, 5, 7]])
    assert found.excluded == 2 + 3


def test_the_recorded_actions_reach_what_they_reached_and_no_action_does_not(data: str) -> None:
    goals = drawn(data)
    world, before = make_world(goals, 4), Cart.drawn
    found = {}
    for name, policy in goals.policies(0).items():
        act = lambda pixels, active, state, policy=policy: policy(state, goals.goal, {})  # noqa: E731
        found[name] = play(world, goals, act, AHEAD, False, name, looks=lambda active: False)
    assert found["replay"].last.all() and not found["noop"].ever.any()
    assert Cart.drawn == before  # Nobody looked.
    np.testing.assert_array_equal(found["noop"].states, goals.state[:, None].repeat(AHEAD + 1, axis=1))
    # It was worn when it was recorded, and begins as new: near is what it comes, and not the same.
    off = np.abs(found["replay"].states[:, AHEAD] - goals.goal).max()
    assert 1e-4 < off < 0.02


def test_the_random_floor_draws_from_all_of_the_bounds(data: str) -> None:
    goals = drawn(data)
    policy = goals.policies(3)["random"]
    moves = np.concatenate([policy(goals.state, goals.goal, {}) for _ in range(200)])
    assert moves.shape == (1200, 2)
    np.testing.assert_allclose(moves.min(axis=0), [-2, -1], atol=0.02)
    np.testing.assert_allclose(moves.max(axis=0), [2, 1], atol=0.02)


def test_the_verb_plans_from_recorded_states_and_looks_only_when_it_plans(data: str, run: str, tmp_path: Path) -> None:
    search, before = Search(CEM(8, 2, 1), horizon=2, replan=2), Cart.drawn
    plan(run, data, str(tmp_path / "a"), search, 4, 0, STEPS, films=0, task=TASK, stop=False)
    rows = {row["policy"]: row for row in map(json.loads, (tmp_path / "a" / "results.jsonl").read_text().splitlines())}
    assert list(rows) == ["noop", "random", "replay", "cem"]
    assert rows["replay"]["success"] == 1 and rows["noop"]["success"] == 0
    # Goals three times, what is seen before the step that is tried, and before each of two plans.
    assert Cart.drawn - before == 4 * (3 + 1 + 2)
    plan(run, data, str(tmp_path / "b"), search, 2, 0, STEPS, films=1, goals=str(tmp_path / "a"))
    assert read_goals(str(tmp_path / "b"), CART, "image").to_json()["state"] == drawn_states(tmp_path / "a")[:2]
    assert (tmp_path / "b" / "films" / "image-00.webp").is_file()


class Onwards(Answering):
    """A planner that goes on along the line, and across it by what standing still costs, which no two share."""

    def answer(self, cost: Cost, mean: Tensor, generator: Generators) -> Plan:
        own = cost(torch.zeros_like(mean)[:, None])[:, :1]
        actions = torch.stack([torch.ones_like(own), torch.sin(1e4 * own)], dim=-1)
        return Plan(actions.expand(mean.shape).to(mean), own[:, 0], {})


def test_an_episode_goes_as_it_would_alone_whatever_is_played_beside_it_or_before(data: str, run: str) -> None:
    model, goals = WorldModel.from_pretrained(run).double(), drawn(data)
    ahead = np.array([0.15, 0.9, 0.35, 0.15, 0.55, 0.25], np.float32)
    goals = replace(goals, goal=goals.state + ahead[:, None] * np.array([1, 0], np.float32))
    together, *others = (
        Match(goals, 16, steps=8, parallel=parallel).planned(
            "on", lambda goal, world: Controller(model, goal, Search(Onwards(), 1), 3, world), films=6
        )
        for parallel in (None, 1, 2, 4)
    )
    assert len(set(together.outcome.states[:, 1, 1].tolist())) == 6  # Each towards its own goal, from its own start.
    assert len(set(together.outcome.first.tolist())) > 2  # Not all end together, or nothing would follow anything.
    for other in others:
        for name in ("states", "reached", "frames"):
            np.testing.assert_array_equal(getattr(other.outcome, name), getattr(together.outcome, name))


def test_a_search_keeps_to_what_the_environment_allows(data: str, run: str) -> None:
    model, space = WorldModel.from_pretrained(run), simulator(CART).action_space
    # As of packed data, of which only a spread is known.
    for low, high, expected in (
        ([-3.0, -0.5], [0.5, 4.0], [[-2, -0.5], [0.5, 1]]),
        ([3.0, -1.0], [4.0, 1.0], [[3, -1], [4, 1]]),
    ):
        model.bounds.low.copy_(torch.tensor(low))
        model.bounds.high.copy_(torch.tensor(high))
        narrow(model.bounds, space)
        assert [model.bounds.low.tolist(), model.bounds.high.tolist()] == expected


def drawn_states(folder: Path) -> list[list[float]]:
    return json.loads((folder / "goals-image.json").read_text())["state"]


def test_what_there_is_not_in_such_an_environment_is_refused(data: str, run: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"got task\.factors"):
        draw_goals(CART, "image", data, 2, 0, Task(AHEAD, factors={"floor": "held_out"}))
    with pytest.raises(UserError, match=r"got no task\.ahead"):
        draw_goals(CART, "image", data, 2, 0, Task())
    with pytest.raises(UserError, match="knows no sentences"):
        plan(run, data, str(tmp_path / "a"), Search(CEM(8, 2, 1), 2), 2, 1, task=TASK)
    write_json(tmp_path / "goals-image.json", {"environment": CART, "actions": []})
    with pytest.raises(UserError, match="is no goal set"):
        read_goals(str(tmp_path), CART, "image")
