"""Push-T: steps that can be played again to the bit, pushes as mechanics has them, pictures, success, bad input."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from matplotlib.path import Path as Outline

pytest.importorskip("pymunk", reason="Push-T needs pymunk: pip install 'jepa_wm[pusht]'")

from jepa_wm.envs import PUSH_T, tee
from jepa_wm.envs.factors import COLORS
from jepa_wm.envs.push_t import FACTORS, PushTVectorEnv
from jepa_wm.envs.push_t_physics import REACH, advance
from jepa_wm.envs.push_t_policy import BlockWalk
from jepa_wm.errors import UserError

SAMPLED = dict.fromkeys(FACTORS, "sample")
PX = 1 / tee.SIDE
AROUND = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)])


def state(pusher, block=(0.5, 0.5), angle=0.0, velocity=(0.0, 0.0)):
    return np.array([*pusher, *block, np.sin(angle), np.cos(angle), *velocity], np.float32)


def walked(num_envs, steps, seed=0, **settings):
    """Environment, states (T+1, E, 8) and actions (T, E, 2) of walks about the block."""
    env = PushTVectorEnv(num_envs, autoreset_mode=AutoresetMode.DISABLED, **settings)
    env.reset(seed=seed)
    policy, states, actions = BlockWalk(num_envs, seed), [env.state], []
    for _ in range(steps):
        actions.append(policy(env.state, env.goal, env.factor_values))
        env.step(actions[-1])
        states.append(env.state)
    return env, np.stack(states), np.stack(actions)


def test_gymnasium_checker_accepts_it():
    env = gymnasium.make(PUSH_T, size=32, max_steps=50, factors=SAMPLED, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), observation["pixels"].transpose(1, 2, 0))


def test_single_environment_is_one_row_of_the_batch():
    batch = gymnasium.make_vec(PUSH_T, num_envs=3, vectorization_mode="vector_entry_point", size=24, factors=SAMPLED)
    observations, infos = batch.reset(seed=11)
    for i in range(3):
        env = gymnasium.make(PUSH_T, size=24, factors=SAMPLED)
        observation, info = env.reset(seed=11 + i)
        np.testing.assert_array_equal(observation["pixels"], observations["pixels"][i])
        np.testing.assert_array_equal(info["goal_pixels"], infos["goal_pixels"][i])
        assert info["distance"] == infos["distance"][i] and info["block_success"] is False
        assert info["factors"] == {name: value[i].tolist() for name, value in infos["factors"].items()}


def test_played_again_from_any_recorded_state_the_same_bits_come():
    env, states, actions = walked(8, 60, size=16, factors=SAMPLED)
    touched = (states[1:, :, 2:6] != states[:-1, :, 2:6]).any(-1)
    assert touched.mean() > 0.2
    for begin in (0, 17, 40):
        again = PushTVectorEnv(8, size=16, autoreset_mode=AutoresetMode.DISABLED)
        again.reset(options={"state": states[begin], "goal": env.goal, "factors": env.factor_values})
        for t in range(begin, 60):
            observation, *_ = again.step(actions[t])
            np.testing.assert_array_equal(observation["state"], states[t + 1])
    np.testing.assert_array_equal(observation["pixels"], env.render_states(env.state))


def test_a_free_pusher_is_a_critically_damped_spring():
    start = state((0.2, 0.2), block=(0.8, 0.8))
    after, action = start, np.array([0.5, -0.3])
    target = start[:2] + action * REACH
    for _ in range(3):
        after = advance(after, (target - after[:2]) / REACH, 1.0)
    # x'' = 100 (target - x) - 20 x' from rest, after 0.3 s; the physics takes steps of 0.01 s.
    share = 1 - (1 + 3) * np.exp(-3)
    np.testing.assert_allclose(after[:2] - start[:2], share * action * REACH, rtol=0.05)
    np.testing.assert_array_equal(after[2:6], start[2:6])


def test_the_target_stays_within_the_walls():
    after = state((0.9, 0.1), block=(0.3, 0.7))
    for _ in range(30):
        after = advance(after, np.array([1.0, -1.0]), 1.0)
    margin = tee.BORDER + tee.RADIUS
    np.testing.assert_allclose(after[:2], (1 - margin, margin), atol=1e-4)


@pytest.mark.parametrize("lever", [-1.5, 0.0, 1.5])
def test_a_push_moves_the_block_along_the_normal_and_turns_it_by_its_lever(lever):
    """On the bar's outer edge, `lever` thicknesses from the middle, downwards."""
    top = tee.OUTLINE[0, 1] * tee.UNIT
    start = state((0.5 + lever * tee.UNIT, 0.5 + top - tee.RADIUS - 0.5 * PX))
    after = advance(start, np.array([0, 0.05]), 1.0)
    moved, turn = after[2:4] - start[2:4], np.arctan2(after[4], after[5])
    assert moved[1] > 0.3 * PX and abs(moved[0]) < 0.05 * PX
    # An impulse j gives j / m and lever * j / (m * gyration^2), here with y down and the turn from x to y.
    np.testing.assert_allclose(turn, lever / tee.GYRATION**2 * moved[1] / tee.UNIT, rtol=0.03, atol=1e-4)


def test_gyration_is_that_of_a_plate():
    x, y = np.meshgrid(*(np.linspace(-3, 3, 1201),) * 2)
    inside = tee.signed_distance(x, y, 1.0) < 0
    np.testing.assert_allclose((x[inside].mean(), y[inside].mean()), 0, atol=3e-3)
    np.testing.assert_allclose(np.sqrt((x[inside] ** 2 + y[inside] ** 2).mean()), tee.GYRATION, rtol=3e-3)


def mirrored(states):
    return (states * [-1, 1, -1, 1, -1, 1, -1, 1] + [1, 0, 1, 0, 0, 0, 0, 0]).astype(np.float32)


def turned(states):
    x, y, bx, by, sine, cosine, vx, vy = states
    return np.array([1 - y, x, 1 - by, bx, cosine, -sine, -vy, vx], np.float32)


def test_mechanics_knows_no_left_and_no_up():
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(150):
        block, angle = rng.uniform(0.4, 0.6, 2), rng.uniform(-3, 3)
        start, action = state(block + rng.uniform(-0.12, 0.12, 2), block, angle), rng.uniform(-1, 1, 2)
        if tee.overlap(start[None], np.array([tee.UNIT]))[0] <= 0:
            after = advance(start, action, 1.0)
            reflected = advance(mirrored(start), action * [-1, 1], 1.0)
            np.testing.assert_allclose(reflected, mirrored(after), atol=0.2 * PX)
            rotated = advance(turned(start), np.array([-action[1], action[0]]), 1.0)
            np.testing.assert_allclose(rotated, turned(after), atol=0.2 * PX)
            moved += np.abs(after[2:4] - start[2:4]).max() > PX
    assert moved > 10


def test_nothing_is_pressed_through_walls_or_block():
    env, states, _ = walked(20, 150, size=8, factors={"block_scale": 1.3})
    unit = env.factor_values["block_scale"] * tee.UNIT
    deep = np.stack([tee.overlap(part, unit) for part in states])
    assert np.percentile(deep, 99) < 6 * PX and deep.max() < tee.RADIUS
    np.testing.assert_allclose((states[..., 4:6] ** 2).sum(-1), 1, atol=1e-5)


def test_starts_and_goals_are_free_and_spread_out():
    env = PushTVectorEnv(300, size=8, factors=SAMPLED)
    _, info = env.reset(seed=0)
    unit = env.factor_values["block_scale"] * tee.UNIT
    assert tee.overlap(env.state, unit).max() <= 0 and tee.overlap(env.goal, unit).max() <= 0
    assert not info["success"].any()
    angles = np.arctan2(env.goal[:, 4], env.goal[:, 5])
    assert np.histogram(angles, 6, (-np.pi, np.pi))[0].min() > 25


def test_success_is_twenty_pixels_and_twenty_degrees():
    goal = state((0.3, 0.3), (0.6, 0.6), np.pi - 0.01)
    for pusher, block, turn, whole, alone in (
        (0, 0, 0, True, True),
        (14, 14, 0, True, True),  # 19.8 px of four coordinates
        (14.5, 14.5, 0, False, True),
        (30, 0, 0, False, True),
        (0, 19.9, 0, True, True),
        (0, 20.1, 0, False, False),
        (0, 0, 19.5, True, True),  # across the turn of the angle
        (0, 0, 20.5, False, False),
        (0, 0, -20.5, False, False),
    ):
        at = state((0.3, 0.3 + pusher * PX), (0.6 - block * PX, 0.6), np.pi - 0.01 + np.radians(turn))
        found = tee.measure(at[None], goal[None])
        assert (found["success"][0], found["block_success"][0]) == (whole, alone), (pusher, block, turn)
        np.testing.assert_allclose(found["angle"], np.radians(abs(turn)), atol=1e-5)
        np.testing.assert_allclose(found["distance"], np.hypot(pusher, block) * PX, atol=1e-5)


def test_success_terminates_with_reward_one():
    env = gymnasium.make(PUSH_T, size=16)
    env.reset(options={"state": state((0.3, 0.3)), "goal": state((0.3, 0.35))})
    _, reward, terminated, _, info = env.step(np.array([0, 0.3]))
    assert (reward, terminated, info["success"]) == (1.0, True, True)


def test_the_picture_is_the_shapes():
    env = PushTVectorEnv(4, size=96, factors={"block_scale": [0.7, 1.0, 1.15, 1.3], "block_color": "green"})
    observation, info = env.reset(seed=2)
    np.testing.assert_array_equal(info["goal_pixels"], env.render_states(env.goal))
    centres = (np.stack(np.meshgrid(np.arange(96), np.arange(96)), -1).reshape(-1, 2) + 0.5) / 96
    for i in range(4):
        corners = tee.OUTLINE * tee.UNIT * env.factor_values["block_scale"][i]
        sine, cosine = env.state[i, 4:6]
        corners = corners @ np.array([[cosine, sine], [-sine, cosine]]) + env.state[i, 2:4]
        around = [Outline(corners).contains_points(centres + shift) for shift in AROUND * 0.8 / 96]
        inner, outer = np.all(around, 0), np.any(around, 0)
        disc = np.hypot(*(centres - env.state[i, :2]).T)
        picture = observation["pixels"][i].reshape(3, -1).T
        assert inner.sum() > 40
        assert (picture[inner & (disc > tee.RADIUS + 1 / 96)] == COLORS["green"]).all()
        assert (picture[disc < tee.RADIUS - 1 / 96] == COLORS["blue"]).all()
        assert (picture[~outer & (disc > tee.RADIUS + 1 / 96)] == COLORS["white"]).all()


def test_colours_can_be_told_apart():
    sets = [[*FACTORS[name].sample, *FACTORS[name].held_out] for name in FACTORS if name.endswith("color")]
    for i, one in enumerate(sets):
        for other in sets[i + 1 :]:
            for a in one:
                assert min(np.linalg.norm(np.subtract(COLORS[a], COLORS[b])) for b in other) > 70, a


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": {"door_number": 1}}, "unknown factor 'door_number'.*block_scale"),
        ({"factors": {"block_scale": 2}}, r"'block_scale'.*2.*\[0\.7, 1\.3\]"),
        ({"state": (0.5, 0.5)}, "'state'.*1 states of 8 numbers"),
        ({"state": state((0.5, 0.5))}, "'state'.*free of each other"),
        ({"goal": state((0.2, 0.2), block=(0.99, 0.5))}, "'goal'.*free of"),
        ({"goal": np.array([0.2, 0.2, 0.5, 0.5, 1, 1, 0, 0])}, "'goal'.*sine and cosine"),
        ({"state": np.array([0.2, 0.2, 0.5, 0.5, 0, 1, np.nan, 0])}, "'state'.*nan.*finite"),
    ],
)
def test_bad_options_are_named_and_change_nothing(options, message):
    env = gymnasium.make(PUSH_T, size=16)
    env.reset(seed=0)
    before = env.unwrapped._vector.state.copy()
    with pytest.raises(UserError, match=message):
        env.reset(options=options)
    np.testing.assert_array_equal(env.unwrapped._vector.state, before)


def test_without_the_extra_it_says_what_to_install():
    code = """
import sys
sys.modules["pymunk"] = None
import gymnasium, jepa_wm.envs
from jepa_wm.errors import UserError
try:
    gymnasium.make("jepa_wm/PushT-v0")
except UserError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'jepa_wm[pusht]'" in said
