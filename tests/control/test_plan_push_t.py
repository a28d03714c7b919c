"""Goals of Push-T come from held-out episodes, and what was recorded reaches them."""

import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("pymunk", reason="Push-T needs pymunk: pip install 'jepa_wm[pusht]'")

from jepa_wm.checkpoint import save_modules
from jepa_wm.control.collect import collect
from jepa_wm.control.evaluate import make_world, play
from jepa_wm.control.goals import Task
from jepa_wm.control.plan import plan
from jepa_wm.control.push_t_goals import RecordedPushT
from jepa_wm.control.recorded_goals import _starts
from jepa_wm.data import EpisodeShards
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.encoders import PatchFrames, StateFrames, ViT
from jepa_wm.envs import PUSH_T
from jepa_wm.errors import UserError
from jepa_wm.manifest import write_manifest
from jepa_wm.planning import CEM
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

AHEAD = 25
STEPS = 32
TASK = Task(AHEAD)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("push_t") / "shards"
    factors = {"block_scale": "sample", "block_color": "sample"}
    collect(str(folder), 14, STEPS, 16, PUSH_T, factors, held_out=0.7, codec="png", seed=2)
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run folder of a model that reads patches and states."""
    folder = tmp_path_factory.mktemp("run") / "forecast"
    torch.manual_seed(0)
    dynamics = TransformerDynamics(12, trunk=Trunk(12, 1, 2))
    for parameter in dynamics.parameters():
        parameter.data = 0.2 * torch.randn_like(parameter)
    model = WorldModel(ViT(patch=16, dim=8, depth=1, heads=2), dynamics, frames=StateFrames(PatchFrames(), 8, 4))
    save_modules(folder / "model", {name: part for name, part in model.named_children() if name != "heads"})
    write_manifest(folder, "forecast")
    return str(folder)


def close(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """The protocol, written out: 20 px of 512 for pusher and block as one vector, and 20 degrees."""
    away = np.linalg.norm((states - goals)[:, :4] * 512, axis=-1)
    angles, wanted = (np.degrees(np.arctan2(x[:, 4], x[:, 5])) for x in (states, goals))
    return (away < 20) & (np.abs((angles - wanted + 180) % 360 - 180) < 20)


def test_goals_are_states_of_held_out_episodes_that_are_not_reached_yet(data: str) -> None:
    goals, episodes = (
        RecordedPushT.draw(data, 12, 3, TASK),
        {episode.id: episode for episode in EpisodeShards(data, "test")},
    )
    for i, (name, time) in enumerate(zip(goals.episode.tolist(), goals.time.tolist(), strict=True)):
        episode = episodes[name]
        np.testing.assert_array_equal(goals.state[i], episode.state[time])
        np.testing.assert_array_equal(goals.goal[i], episode.state[time + 25])
        np.testing.assert_array_equal(goals.actions[i], episode.actions[time : time + 25])
        assert goals.factors["block_scale"][i] == episode.factors["block_scale"]
    assert not close(goals.state, goals.goal).any()
    assert len(set(zip(goals.episode.tolist(), goals.time.tolist(), strict=True))) == 12
    assert (
        RecordedPushT.draw(data, 12, 3, TASK).to_json()
        == goals.to_json()
        != RecordedPushT.draw(data, 12, 4, TASK).to_json()
    )


def test_starts_that_satisfy_their_goal_are_left_out_and_counted(data: str) -> None:
    goals, away = RecordedPushT.draw(data, 12, 0, TASK), np.zeros((12, 8), np.float32)
    assert goals.excluded == 0
    # Pusher and block are 12 and 15 px off, 19.2 px as one vector; then 13 and 16, which is 20.6.
    away[::2, 0], away[::2, 3] = 12 / 512, 15 / 512
    away[4, 0], away[4, 3] = 13 / 512, 16 / 512
    near = np.where(np.arange(12)[:, None] % 2 == 0, goals.state + away, goals.goal)
    found = replace(goals, goal=near).open(5)
    kept = [1, 3, 4, 5, 7]
    np.testing.assert_array_equal(found.state, goals.state[kept])
    np.testing.assert_array_equal(found.actions, goals.actions[kept])
    assert found.factors["block_color"].tolist() == goals.factors["block_color"][kept].tolist() and found.excluded == 3
    with pytest.raises(UserError, match="7 of 12 starts do not satisfy their goals already; expected 8"):
        replace(goals, goal=near).open(8)


def test_a_model_of_another_world_is_refused_before_anything_is_written(data: str, run: str, tmp_path: Path) -> None:
    other = tmp_path / "forecast"
    shutil.copytree(run, other)
    write_manifest(other, "forecast", data={"shards": {"data_hash": "a", "environment": "jepa_wm/TwoRooms-v0"}})
    search = Search(CEM(samples=8, elites=2, iterations=1), horizon=2)
    with pytest.raises(UserError, match=r"trained in jepa_wm/TwoRooms-v0; got .*shards, which is of jepa_wm/PushT-v0"):
        plan(str(other), data, str(tmp_path / "plan"), search, 1, 0)
    assert not (tmp_path / "plan").exists()


def test_more_starts_than_there_are_and_short_episodes_are_refused(data: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"of 40 starts do not satisfy .* expected 41"):
        RecordedPushT.draw(data, 41, 0, TASK)
    collect(str(tmp_path / "short"), 3, AHEAD - 1, 16, PUSH_T, codec="png")
    with pytest.raises(UserError, match="no episode of more than 24 steps"):
        RecordedPushT.draw(str(tmp_path / "short"), 1, 0, TASK)


def test_every_episode_has_a_start_before_one_has_two() -> None:
    order = _starts([27, 25, 26, 29], 25, np.random.default_rng(0))
    assert sorted(order) == [(0, 0), (0, 1), (2, 0), (3, 0), (3, 1), (3, 2), (3, 3)]
    assert {episode for episode, _ in order[:3]} == {0, 2, 3} and {episode for episode, _ in order[3:5]} == {0, 3}


def test_the_recorded_actions_reach_every_goal_when_they_did(data: str) -> None:
    goals = RecordedPushT.from_json(json.loads(json.dumps(RecordedPushT.draw(data, 8, 1, TASK).to_json())))
    world = make_world(goals, 16)
    replay = goals.policies(0)["replay"]
    moves: list[np.ndarray] = []

    def act(pixels: np.ndarray, active: np.ndarray, state: np.ndarray) -> np.ndarray:
        moves.append(replay(state, goals.goal, world.factor_values))
        return moves[-1]

    states = play(world, goals, act, AHEAD + 2, False, "").states
    np.testing.assert_array_equal(states[:, AHEAD], goals.goal)
    np.testing.assert_array_equal(states[:, 0], goals.state)
    assert not np.any(moves[AHEAD:])


def test_an_episode_that_ended_stays_solved_though_the_pusher_slides_on(data: str) -> None:
    drawn = RecordedPushT.draw(data, 6, 2, TASK)
    state, right = drawn.state.copy(), np.array([[1, 0]], np.float32)
    state[:, 6:], state[:, :2], state[:, 2:4] = 0, (0.15, 0.1), (0.7, 0.7)
    # Two steps to the right lead 137/1000 of the side away, within reach of the goal, and on they slide to 159.
    # The last has a goal that it does not reach in time, so that the world goes on; the others are told as they ended.
    ahead = np.array([0.108] * 5 + [0.7], np.float32)
    goals = replace(drawn, state=state, goal=state + ahead[:, None] * np.eye(8, dtype=np.float32)[0])
    act = lambda pixels, active, state: right.repeat(6, axis=0)  # noqa: E731
    outcome = play(make_world(goals, 16), goals, act, 5, True, "")
    assert outcome.reached.tolist() == [[False, True, True, True, True]] * 5 + [[False] * 5]
    np.testing.assert_array_equal(outcome.states[:5, 3:], outcome.states[:5, 2:3].repeat(3, axis=1))
    assert not play(make_world(goals, 16), goals, act, 5, False, "").last.any()


def test_broken_episodes_are_left_out(data: str, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(data, folder)
    shard = next(folder.glob("test-*.tar"))
    content, name = shard.read_bytes(), b"test-000001.state.npy"
    at = content.index(name) + 512
    shard.write_bytes(content[:at] + b"nonsense" + content[at + 8 :])
    with pytest.warns(UserWarning, match="test-000001"):
        goals = RecordedPushT.draw(str(folder), 12, 3, TASK)
    assert set(goals.episode.tolist()) == {f"test-00000{i}" for i in (0, 2, 3, 4)}


def test_the_verb_plans_and_plays_floors_and_ceiling(run: str, data: str, tmp_path: Path) -> None:
    search = Search(CEM(8, 2, 1), horizon=2)
    plan(run, data, str(tmp_path / "a"), search, 6, 0, AHEAD, films=1, task=TASK)
    rows = {row["policy"]: row for row in map(json.loads, (tmp_path / "a" / "results.jsonl").read_text().splitlines())}
    assert list(rows) == ["noop", "random", "replay", "cem"]
    assert rows["replay"]["success"] == 1 and rows["replay"]["episodes"] == 6
    values = json.loads((tmp_path / "a" / "goals-image.json").read_text())
    states, goals = (np.array(values[name], np.float32) for name in ("state", "goal"))
    assert not close(states, goals).any() and rows["cem"]["excluded"] == values["excluded"]
    assert {path.name for path in (tmp_path / "a" / "films").iterdir()} == {"index.json", "image-00.webp"}
    plan(run, data, str(tmp_path / "b"), search, 1, 0, AHEAD, films=0, goals=str(tmp_path / "a"))
    again = [json.loads(line) for line in (tmp_path / "b" / "results.jsonl").read_text().splitlines()]
    assert [row["success"] for row in again] == [row["success"] for row in rows.values()]


def test_the_config_holds_every_argument() -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "configs/push_t/plan.yaml").read_text())
    assert config.keys() == inspect.signature(plan).parameters.keys()
