"""The picture against a slow one: each pixel the mean of many samples of what is there."""

import itertools

import numpy as np
import pytest

from jepa_wm.envs.factors import FACTORS, default_values
from jepa_wm.envs.geometry import BORDER, geometry
from jepa_wm.envs.render import backgrounds, paint_discs
from jepa_wm.envs.vector import TwoRoomsVectorEnv


def supersampled(values, e, point, size, factor=16):
    """The picture of environment e by sampling points: float (3, size, size)."""
    world = geometry(values)
    axis = (np.arange(size * factor) + 0.5) / (size * factor)
    x, y = axis[None, :, None], axis[:, None, None]
    inside = (np.abs(x - 0.5) < 0.5 - BORDER) & (np.abs(y - 0.5) < 0.5 - BORDER)
    door = np.any([(y > low) & (y < high) for low, high in world.doors[e]], axis=0)
    wall = ~inside | ((np.abs(x - 0.5) < world.half[e]) & ~door)
    picture = np.where(x < 0.5, values["floor_color_left"][e], values["floor_color_right"][e])
    picture = np.where(wall, values["wall_color"][e], picture)
    disc = (x - point[0]) ** 2 + (y - point[1]) ** 2 < world.radius[e] ** 2
    picture = np.where(disc, values["agent_color"][e], picture)
    return picture.reshape(size, factor, size, factor, 3).mean((1, 3)).transpose(2, 0, 1)


@pytest.mark.parametrize(("size", "split"), [(64, "sample"), (64, "held_out"), (96, "default"), (33, "sample")])
def test_picture_agrees_with_supersampling(size, split):
    env = TwoRoomsVectorEnv(6, size=size, factors=dict.fromkeys(FACTORS, split))
    observation, info = env.reset(seed=3)
    for e in range(6):
        expected = supersampled(env.factor_values, e, env.state[e], size)
        error = np.abs(observation["pixels"][e] - expected)
        assert error.max() < 26 and error.mean() < 0.5
        goal = supersampled(env.factor_values, e, env.goal[e], size)
        assert np.abs(info["goal_pixels"][e] - goal).max() < 26


def test_background_is_exact_without_a_disc():
    env = TwoRoomsVectorEnv(4, size=50, factors=dict.fromkeys(FACTORS, "sample"))
    env.reset(seed=1)
    rooms = backgrounds(env.factor_values, 50)
    for e in range(4):
        far = supersampled(env.factor_values, e, (-1, -1), 50, factor=40)
        assert np.abs(rooms[e] - far).max() < 8


def test_pixels_are_rounded_to_the_nearest():
    # A border of 0.03 * 55 = 1.65 px: 245 + 0.65 * (20 - 245) = 98.75 in the second column.
    room = backgrounds(default_values(FACTORS, 1), 55)[0]
    assert room[:, 10, :3].tolist() == [[20, 99, 245]] * 3
    # The wall, 3.3 px wide, begins at 25.85 px.
    assert room[0, 10, 24:32].tolist() == [245, 211, 20, 20, 20, 211, 245, 245]


def test_motion_below_a_pixel_is_seen_and_the_painted_mass_follows_it():
    room = np.zeros((9, 3, 64, 64), np.uint8)
    shift = np.linspace(0, 1, 9) / 64
    points = np.stack([0.3 + shift, np.full(9, 0.6)], -1)
    frames = paint_discs(room, points, np.full(9, 0.05), np.full((9, 3), 200, np.uint8))
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
    mass = frames[:, 0].astype(float)
    column = (np.arange(64) + 0.5) / 64
    total = mass.sum((1, 2))
    np.testing.assert_allclose((mass.sum(1) * column).sum(-1) / total, points[:, 0], atol=0.05 / 64)
    np.testing.assert_allclose((mass.sum(2) * column).sum(-1) / total, points[:, 1], atol=0.05 / 64)
    np.testing.assert_allclose(total / 200, np.pi * (0.05 * 64) ** 2, rtol=0.02)
    assert (room == 0).all()


def test_discs_at_the_edge_and_beyond_are_cut_off_not_wrapped():
    frames = paint_discs(
        np.zeros((2, 3, 32, 32), np.uint8),
        np.array([[0.0, 0.0], [1.0, 0.5]]),
        np.array([0.1, 0.1]),
        np.full((2, 3), 255, np.uint8),
    )
    assert frames[0, 0, 0, 0] == 255 and frames[1, 0, 16, 31] == 255
    assert not frames[0, :, :, 16:].any() and not frames[1, :, :, :16].any()


def test_the_pixels_of_one_do_not_depend_on_the_others():
    factors = {"agent_size": [0.03, 0.075, 0.05], "agent_color": ["red", "blue", [1, 2, 3]]}
    env = TwoRoomsVectorEnv(3, factors=factors)
    env.reset(seed=0)
    for e in range(3):
        alone = TwoRoomsVectorEnv(1, factors={name: [values[e]] for name, values in factors.items()})
        alone.reset(options={"state": env.state[[e]], "goal": env.goal[[e]]})
        np.testing.assert_array_equal(alone.render_states(env.state[[e]])[0], env.render_states(env.state)[e])
