"""Held-out values are disjoint from sampled ones, colours can be told apart, settings mean what they say."""

import itertools

import numpy as np
import pytest

from jepa_wm.envs.factors import COLORS, FACTORS, default_values
from jepa_wm.envs.vector import TwoRoomsVectorEnv


def drawn(split, count=300):
    env = TwoRoomsVectorEnv(count, size=8, factors=dict.fromkeys(FACTORS, split))
    env.reset(seed=0)
    return env.factor_values


def test_held_out_values_are_apart_from_sampled_ones():
    sampled, held_out = drawn("sample"), drawn("held_out")
    for name in FACTORS:
        one, other = ({tuple(np.atleast_1d(v).tolist()) for v in values[name]} for values in (sampled, held_out))
        assert not one & other, name
        if not name.endswith(("color", "left", "right", "number")):
            assert sampled[name].max() < held_out[name].min() or held_out[name].max() < sampled[name].min()
        assert FACTORS[name].parse(name, FACTORS[name].default) is not None


@pytest.mark.parametrize("split", ["sample", "held_out"])
def test_draws_cover_their_set_and_pass_the_check(split):
    values = drawn(split)
    for name, factor in FACTORS.items():
        chosen = getattr(factor, split)
        for value in values[name]:
            factor.parse(name, value)
        if name.endswith("number"):
            assert set(values[name]) == set(chosen)
        elif isinstance(chosen[0], str):
            assert {tuple(value) for value in values[name].tolist()} == {COLORS[color] for color in chosen}
        else:
            span = chosen[1] - chosen[0]
            assert chosen[0] <= values[name].min() < chosen[0] + 0.1 * span
            assert chosen[1] - 0.1 * span < values[name].max() <= chosen[1]


def test_the_disc_can_be_told_from_floor_and_wall():
    agent = FACTORS["agent_color"]
    for name in ("wall_color", "floor_color_left", "floor_color_right"):
        around = FACTORS[name].sample + FACTORS[name].held_out
        for one, other in itertools.product(agent.sample + agent.held_out, around):
            assert np.linalg.norm(np.subtract(COLORS[one], COLORS[other])) > 70, (one, other)
    assert len(set(COLORS.values())) == len(COLORS)


def test_settings_by_value_by_list_and_by_word():
    env = TwoRoomsVectorEnv(3, size=8, factors={"agent_size": [0.04, "default", "held_out"], "wall_color": [9, 8, 7]})
    env.reset(seed=0)
    assert env.factor_values["agent_size"][:2].tolist() == [0.04, 0.05]
    assert 0.065 <= env.factor_values["agent_size"][2] <= 0.075
    assert env.factor_values["wall_color"].tolist() == [[9, 8, 7]] * 3
    env.reset(options={"factors": {"agent_color": ["red", "cyan", (1, 2, 3)], "agent_size": "default"}})
    assert env.factor_values["agent_color"].tolist() == [[220, 40, 40], [30, 190, 210], [1, 2, 3]]
    assert env.factor_values["agent_size"].tolist() == [0.05] * 3


def test_unnamed_factors_are_at_their_default():
    env = TwoRoomsVectorEnv(2, size=8)
    env.reset(seed=0)
    for name, value in default_values(FACTORS, 2).items():
        np.testing.assert_array_equal(env.factor_values[name], value)
        assert env.factor_values[name].dtype == value.dtype
