"""The worlds of stable-worldmodel, where it is installed, put at recorded states: `pip install 'jepa_wm[swm]'`."""

import warnings

import gymnasium
import numpy as np
import pytest

from jepa_wm.control.restored_world import RestoredWorld
from jepa_wm.control.single_player import SinglePlayer
from jepa_wm.errors import UserError
from jepa_wm.interop.evaluate import RecordedEpisodes
from jepa_wm.interop.make import RESTORED, make
from jepa_wm.interop.worlds import PROTOCOLS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("torchvision")  # before EGL is loaded
    pytest.importorskip("stable_worldmodel")
pytestmark = pytest.mark.filterwarnings("default")

OFF = {"swm/TwoRoom-v1": 1e-4, "swm/PushT-v1": 0.1, "swm/ReacherDMControl-v0": 1e-4, "swm/OGBCube-v0": 1e-2}
"""How far a restored state may lead from what was recorded, six steps later: pixels or radians, metres, and those a
second."""


@pytest.mark.parametrize("environment", PROTOCOLS)
def test_each_world_records_states_that_it_can_be_set_to(environment: str) -> None:
    protocol = PROTOCOLS[environment]
    episode = SinglePlayer(environment, 32, 3).play(["a"], [0])[0]
    assert episode.frames.std() > 1 and len(episode.actions) == 3
    states = protocol.split(episode.state.astype(np.float64))
    # As their `World` evaluates, where an episode ends with its goal.
    world = gymnasium.make(environment, render_mode="rgb_array", disable_env_checker=True, **protocol.options)
    world.reset(seed=5)
    row = {prefix + name: column[0] for name, column in states.items() for prefix in ("", "goal_")}
    for call in protocol.callables():
        arguments = {
            name: row[each["value"]] if each["in_dataset"] else each["value"] for name, each in call["args"].items()
        }
        getattr(world.unwrapped, call["method"])(**arguments)
    # Where it was at rest: after a step in which nothing is done it is still at its goal, and says so.
    *_, terminated, _, _ = world.step(np.zeros(world.action_space.shape, np.float32))
    assert terminated
    assert protocol.rule(states, states).all()


@pytest.mark.parametrize("environment", RESTORED)
def test_recorded_states_are_restored_and_episodes_go_on_side_by_side(environment: str) -> None:
    episode = SinglePlayer(environment, 8, 12, expert_fraction=1.0).play(["a"], [0])[0]
    begin, (first, second) = [2, 5], (RestoredWorld(environment, 8, 2), RestoredWorld(environment, 8, 1))
    first.reset(options={"state": episode.state[begin]})
    np.testing.assert_array_equal(first.state, episode.state[begin])
    for step in range(6):
        first.step(np.stack([episode.actions[start + step] for start in begin]))
        first.render_states(episode.state[:2])
    # What is recorded says neither what touches what nor more than seven digits.
    np.testing.assert_allclose(first.state, episode.state[[start + 6 for start in begin]], atol=OFF[environment])
    assert np.abs(first.state - episode.state[begin]).max() > 10 * OFF[environment]
    second.reset(options={"state": episode.state[begin[1:]]})
    for step in range(6):
        second.step(episode.actions[begin[1] + step][None])
    np.testing.assert_array_equal(second.state, first.state[1:])
    np.testing.assert_array_equal(second.look(np.ones(1, bool)), first.look(np.array([False, True])))


def test_push_t_goes_on_with_its_contacts_and_is_drawn_where_it_is() -> None:
    """Against an episode that nothing is played beside, in which the pusher is at the block."""
    alone, draw = make("swm/PushT-v1"), np.random.default_rng(0)
    observed, _ = alone.reset(seed=3)
    states, frames, actions = [observed], [alone.render()], []
    for _ in range(60):
        towards = (observed[2:4] - observed[:2]) / 100 + draw.normal(0, 0.4, 2)
        actions.append(np.clip(towards, -1, 1).astype(np.float32))
        observed, *_ = alone.step(actions[-1])
        states.append(observed)
        frames.append(alone.render())
    recorded, begin = np.stack(states), [10, 30, 45]
    assert (np.abs(np.diff(recorded[:, 2:4], axis=0)).max(axis=1) > 1).mean() > 0.5
    world = RestoredWorld("swm/PushT-v1", 224, 3)
    world.reset(options={"state": recorded[begin]})
    seen = world.look(np.ones(3, bool)).transpose(0, 2, 3, 1)
    assert (seen != np.stack(frames)[begin]).mean() < 1e-3  # Where float32 rounds to another pixel.
    for step in range(15):
        world.step(np.stack([actions[start + step] for start in begin]))
        world.render_states(recorded[:3])
    for found, start in zip(world.state, begin, strict=True):
        observed = alone.restore(recorded[start])
        for step in range(15):
            observed, *_ = alone.step(actions[start + step])
        np.testing.assert_array_equal(found, observed)
    # A block that lies as it did before it was turned may be read either way.
    turned = np.array([[50, 60, 200, 300, angle, 0, 0] for angle in (0, 2 * np.pi, 7)], np.float32)
    world.reset(options={"state": turned})


def test_a_world_of_theirs_that_is_not_known_says_which_are() -> None:
    with pytest.raises(UserError, match=r"no goals are known in swm/Piecewise-v0; expected one of swm/TwoRoom-v1"):
        RecordedEpisodes(None, "swm/Piecewise-v0")  # type: ignore[arg-type]
    assert isinstance(make("swm/TwoRoom-v1"), gymnasium.Env)
