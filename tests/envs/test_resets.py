"""Where episodes begin and end one by one: each has its own clock, its own factors, and an end that is handed over."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.factors import COLORS
from jepa_wm.envs.world import VectorWorld

STAY, RIGHT = np.zeros((2, 2), np.float32), np.array([[1, 0], [0, 0]], np.float32)
STARTS = {"state": [[0.2, 0.2], [0.2, 0.2]], "goal": [[0.29, 0.2], [0.8, 0.8]]}
"""One step to the right leads the first disc to its goal."""


def two(**settings: object) -> VectorWorld:
    world = gymnasium.make_vec(TWO_ROOMS, 2, vectorization_mode="vector_entry_point", size=16, **settings).unwrapped
    assert isinstance(world, VectorWorld)
    return world


@pytest.mark.parametrize("both", [True, False])
def test_what_was_reset_by_hand_after_its_end_does_not_begin_anew_again(both: bool) -> None:
    world = two(autoreset_mode=AutoresetMode.NEXT_STEP)
    world.reset(seed=0, options=STARTS)
    assert world.step(RIGHT)[2].tolist() == [True, False]
    mask = {} if both else {"reset_mask": np.array([True, False])}
    observation, info = world.reset(options=mask)
    after, _, _, _, told = world.step(STAY)
    np.testing.assert_array_equal(after["state"], observation["state"])
    np.testing.assert_array_equal(told["goal"], info["goal"])


def test_the_end_of_one_episode_does_not_set_back_the_clock_of_another() -> None:
    for mode, begun in ((AutoresetMode.NEXT_STEP, 2), (AutoresetMode.SAME_STEP, 1)):
        world = two(max_steps=5, autoreset_mode=mode)
        world.reset(seed=0, options=STARTS)
        assert world.step(RIGHT)[2].tolist() == [True, False]
        ends = np.array([world.step(STAY)[3] for _ in range(2, 8)])
        # In step 5 the second is over, and the first five steps after it began anew.
        assert (np.flatnonzero(ends[:, 1]) + 2).tolist() == [5]
        assert (np.flatnonzero(ends[:, 0]) + 2).tolist() == [begun + 5]
    world = two(max_steps=4, autoreset_mode=AutoresetMode.DISABLED)
    world.reset(seed=0)
    world.step(STAY)
    world.reset(options={"reset_mask": np.array([True, False])})
    assert [world.step(STAY)[3].tolist() for _ in range(3)] == [[False, False], [False, False], [False, True]]


def test_factors_of_a_reset_are_laid_over_those_that_the_world_was_made_with() -> None:
    world = two(factors={"agent_color": "blue", "agent_size": [0.04, 0.045]})
    for asked, sizes in (({}, [0.04, 0.045]), ({"agent_size": 0.06}, [0.06, 0.06]), ({}, [0.04, 0.045])):
        _, info = world.reset(seed=0, options={"factors": asked})
        assert info["factors"]["agent_size"].tolist() == sizes
        assert info["factors"]["agent_color"].tolist() == [list(COLORS["blue"])] * 2


def test_same_step_mode_hands_over_all_that_was_told_of_the_end() -> None:
    world = two(autoreset_mode=AutoresetMode.SAME_STEP)
    _, first = world.reset(seed=0, options=STARTS)
    *_, info = world.step(RIGHT)
    last = info["final_info"]
    assert info["_final_info"].tolist() == [True, False] and last["success"].tolist() == [True, False]
    np.testing.assert_array_equal(last["goal"], np.array(STARTS["goal"], np.float32))
    np.testing.assert_allclose(last["distance"], [0.06, 0.6 * 2**0.5], atol=1e-6)
    np.testing.assert_array_equal(last["goal_pixels"], first["goal_pixels"])
    assert (info["goal"][0] != last["goal"][0]).all() and not info["success"].any()
