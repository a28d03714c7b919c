"""The environments through gymnasium: checker, seeds, single against vector, autoreset, options, bad input."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.factors import FACTORS
from jepa_wm.envs.geometry import SUCCESS_DISTANCE, geometry, overlap
from jepa_wm.envs.vector import TwoRoomsVectorEnv
from jepa_wm.errors import UserError

SAMPLED = dict.fromkeys(FACTORS, "sample")


def make_vec(num_envs, **settings):
    return gymnasium.make_vec(TWO_ROOMS, num_envs=num_envs, vectorization_mode="vector_entry_point", **settings)


def test_gymnasium_checker_accepts_it():
    env = gymnasium.make(TWO_ROOMS, size=32, max_steps=50, factors=SAMPLED, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), observation["pixels"].transpose(1, 2, 0))


def test_registration_imports_no_environment():
    code = "import sys, jepa_wm.envs; assert 'jepa_wm.envs.vector' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_single_environment_is_one_row_of_the_batch():
    vec = make_vec(5, size=24, factors=SAMPLED, autoreset_mode=AutoresetMode.DISABLED)
    batch, infos = vec.reset(seed=11)
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 5, 2)).astype(np.float32)
    singles = [gymnasium.make(TWO_ROOMS, size=24, factors=SAMPLED) for _ in range(5)]
    for i, env in enumerate(singles):
        observation, info = env.reset(seed=11 + i)
        np.testing.assert_array_equal(observation["pixels"], batch["pixels"][i])
        np.testing.assert_array_equal(info["goal_pixels"], infos["goal_pixels"][i])
        assert info["factors"] == {name: value[i].tolist() for name, value in infos["factors"].items()}
    for action in actions:
        batch, rewards, _, _, infos = vec.step(action)
        for i, env in enumerate(singles):
            observation, reward, _, _, info = env.step(action[i])
            np.testing.assert_array_equal(observation["state"], batch["state"][i])
            np.testing.assert_array_equal(observation["pixels"], batch["pixels"][i])
            assert (reward, info["distance"]) == (rewards[i], infos["distance"][i])


def test_same_seed_same_episodes_other_seed_others():
    runs = []
    for seed in (4, 4, 5):
        env = make_vec(3, size=16, factors=SAMPLED, max_steps=7)
        trace = [env.reset(seed=seed)[0]]
        rng = np.random.default_rng(0)
        trace += [env.step(rng.uniform(-1, 1, (3, 2)))[0] for _ in range(20)]
        runs.append([np.concatenate([frame["pixels"].ravel(), frame["state"].ravel()]) for frame in trace])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_default_starts_are_free_and_goals_in_the_other_room():
    env = TwoRoomsVectorEnv(400, size=8, factors={"wall_thickness": 0.03, "agent_size": 0.03})
    env.reset(seed=0)
    world = geometry(env.factor_values)
    assert overlap(world, env.state).max() <= 0 and overlap(world, env.goal).max() <= 0
    assert ((env.state[:, 0] < 0.5) != (env.goal[:, 0] < 0.5)).all()
    assert (np.abs(env.goal[:, 0] - 0.5) >= world.half + world.radius - 1e-6).all()
    assert np.hypot(*(env.state - env.goal).T).min() >= SUCCESS_DISTANCE
    assert 0.4 < (env.state[:, 0] < 0.5).mean() < 0.6


def test_options_are_honoured_and_last_one_episode():
    env = gymnasium.make(TWO_ROOMS, size=16)
    options = {"state": (0.2, 0.3), "goal": (0.8, 0.7), "factors": {"agent_color": "blue", "door_number": 3}}
    observation, info = env.reset(seed=0, options=options)
    np.testing.assert_allclose(observation["state"], (0.2, 0.3), atol=1e-7)
    np.testing.assert_allclose(info["goal"], (0.8, 0.7), atol=1e-7)
    assert info["factors"]["agent_color"] == [40, 80, 220] and info["factors"]["door_number"] == 3
    assert info["distance"] == pytest.approx(np.hypot(0.6, 0.4))
    assert env.reset()[1]["factors"]["door_number"] == 1


def test_factors_of_info_give_the_same_world_back():
    env = make_vec(4, size=16, factors=SAMPLED)
    observation, info = env.reset(seed=9)
    again, _ = make_vec(4, size=16).reset(
        options={"state": observation["state"], "goal": info["goal"], "factors": info["factors"]}
    )
    np.testing.assert_array_equal(again["pixels"], observation["pixels"])


@pytest.mark.parametrize("single", [True, False])
def test_an_option_that_is_none_is_not_given(single):
    env = gymnasium.make(TWO_ROOMS, size=16) if single else make_vec(3, size=16)
    names = ("state", "goal", "factors") if single else ("state", "goal", "factors", "reset_mask")
    drawn, given = (env.reset(seed=5, options=options)[1] for options in (None, dict.fromkeys(names)))
    np.testing.assert_array_equal(drawn["goal"], given["goal"])
    assert np.asarray(drawn["goal"]).min() > 0


def test_reset_mask_leaves_the_others_running():
    env = make_vec(3, size=16, factors=SAMPLED, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    before, *_ = env.step(np.ones((3, 2)))
    earlier = before["state"].copy()
    after, _ = env.reset(seed=1, options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(after["state"][[0, 2]], earlier[[0, 2]])
    np.testing.assert_array_equal(after["pixels"][[0, 2]], before["pixels"][[0, 2]])
    assert (after["state"][1] != earlier[1]).all()


def at_goal(mode, max_steps=100):
    """Two environments; the first is one step from its goal."""
    env = make_vec(2, size=16, max_steps=max_steps, autoreset_mode=mode)
    env.reset(seed=0, options={"state": [[0.2, 0.2], [0.2, 0.2]], "goal": [[0.29, 0.2], [0.8, 0.8]]})
    return env, env.step(np.array([[1, 0], [0, 0]], np.float32))


def test_success_terminates_with_reward_one_and_disabled_goes_on():
    env, (observation, reward, terminated, truncated, _) = at_goal(AutoresetMode.DISABLED)
    assert terminated.tolist() == [True, False] and reward.tolist() == [1.0, 0.0] and not truncated.any()
    observation, _, terminated, _, _ = env.step(np.array([[-1, 0], [-1, 0]], np.float32))
    np.testing.assert_allclose(observation["state"][0], (0.2, 0.2), atol=1e-6)
    assert terminated.tolist() == [False, False]


def test_next_step_mode_begins_anew_one_step_later():
    env, (observation, _, _, _, _) = at_goal(AutoresetMode.NEXT_STEP)
    np.testing.assert_allclose(observation["state"][0], (0.23, 0.2), atol=1e-6)
    observation, reward, terminated, truncated, info = env.step(np.ones((2, 2), np.float32))
    assert reward.tolist() == [0.0, 0.0] and not terminated.any() and not truncated.any()
    assert (info["goal"][0] != [0.29, 0.2]).all()
    np.testing.assert_allclose(observation["state"][1], (0.23, 0.23), atol=1e-6)


def test_same_step_mode_begins_anew_at_once_and_hands_over_the_end():
    _, (observation, reward, terminated, _, info) = at_goal(AutoresetMode.SAME_STEP)
    assert terminated.tolist() == [True, False] and reward[0] == 1
    np.testing.assert_allclose(info["final_obs"]["state"][0], (0.23, 0.2), atol=1e-6)
    assert info["_final_obs"].tolist() == [True, False]
    assert not np.allclose(observation["state"][0], (0.23, 0.2), atol=1e-3)


def test_truncated_at_max_steps():
    env = make_vec(1, size=16, max_steps=3, autoreset_mode=AutoresetMode.NEXT_STEP)
    env.reset(seed=0, options={"state": [[0.2, 0.2]], "goal": [[0.8, 0.8]]})
    ends = [bool(env.step(np.zeros((1, 2)))[3][0]) for _ in range(8)]
    assert ends == [False, False, True, False, False, False, True, False]


def test_what_was_handed_out_never_changes():
    env = make_vec(2, size=16, factors=SAMPLED, max_steps=3)
    observation, info = env.reset(seed=0)
    kept = [observation["pixels"], observation["state"], info["goal"], info["goal_pixels"], *info["factors"].values()]
    copies = [value.copy() for value in kept]
    for _ in range(10):
        env.step(np.ones((2, 2)))
    for value, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(value, copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": (0.2, 0.2)}, "unknown option 'start'.*state, goal, factors"),
        ({"factors": {"agent_colour": "red"}}, "unknown factor 'agent_colour'.*agent_color"),
        ({"factors": {"agent_color": "mauve"}}, "'agent_color'.*'mauve'.*red"),
        ({"factors": {"agent_color": [300, 0, 0]}}, "'agent_color'.*300.*0 to 255"),
        ({"factors": {"agent_size": 0.2}}, r"'agent_size'.*0\.2.*\[0\.03, 0\.075\]"),
        ({"factors": {"agent_size": float("nan")}}, "'agent_size'.*nan"),
        ({"factors": {"door_number": 4}}, r"'door_number'.*4.*\[1, 2, 3\]"),
        ({"factors": {"door_width": [0.2, 0.2]}}, "'door_width'.*2 values"),
        ({"factors": "sample"}, "'sample'.*dictionary"),
        ({"state": (0.5, 0.1)}, r"'state'.*\[0\.5, 0\.1.*in a wall"),
        ({"goal": (1.2, 0.1)}, "'goal'.*1.2.*outside"),
        ({"goal": (float("nan"), 0.1)}, "'goal'.*nan"),
        ({"state": (0.2, 0.2, 0.2)}, "'state'.*positions"),
        ({"state": "left"}, "'state'.*left"),
    ],
)
def test_bad_options_are_named_and_change_nothing(options, message):
    env = gymnasium.make(TWO_ROOMS, size=16)
    env.reset(seed=0)
    vector = env.unwrapped._vector
    before = (vector.state.copy(), vector.factor_values["agent_size"].copy())
    with pytest.raises(UserError, match=message):
        env.reset(options=options)
    np.testing.assert_array_equal(vector.state, before[0])
    np.testing.assert_array_equal(vector.factor_values["agent_size"], before[1])


def test_bad_construction_and_steps_are_named():
    with pytest.raises(UserError, match="size=0"):
        gymnasium.make(TWO_ROOMS, size=0)
    with pytest.raises(UserError, match=r"max_steps='10'"):
        make_vec(1, max_steps="10")
    with pytest.raises(UserError, match="unknown factor 'x'"):
        make_vec(1, factors={"x": 1})
    env = make_vec(2, size=16)
    with pytest.raises(UserError, match="reset"):
        env.step(np.zeros((2, 2)))
    env.reset(seed=0)
    with pytest.raises(UserError, match=r"finite numbers \(2, 2\)"):
        env.step(np.zeros(2))
    with pytest.raises(UserError, match="nan"):
        env.step(np.full((2, 2), np.nan))
    with pytest.raises(UserError, match="expected finite numbers"):
        env.step([["a", "b"], ["c", "d"]])
    for seed in (1.5, [1, 2, 3], [1, "a"]):
        with pytest.raises(UserError, match="reset: got seed"):
            TwoRoomsVectorEnv(2, size=16).reset(seed=seed)
    one, other = (TwoRoomsVectorEnv(2, size=16).reset(seed=seed)[1]["goal"] for seed in ([3, 8], np.array([3, 8])))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(UserError, match="factor 'agent_size': got array"):
        make_vec(2, factors={"agent_size": np.array("large")})
