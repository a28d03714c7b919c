"""Regions tile what the disc can reach, and captions say nothing that is not so."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest

from jepa_wm.envs.factors import COLORS, FACTORS, default_values
from jepa_wm.envs.geometry import TOLERANCE, geometry, overlap
from jepa_wm.envs.language import REGIONS, Region, caption, captions, middle_of, region_of
from jepa_wm.envs.vector import TwoRoomsVectorEnv

FACTOR = {"agent_color": [220, 40, 40], "agent_size": 0.05}


@pytest.mark.parametrize(
    ("state", "region", "phrase"),
    [
        ((0.85, 0.15), ("right", "top", "right"), "the top right corner of the right room"),
        ((0.60, 0.10), ("right", "top", "left"), "the top left corner of the right room"),
        ((0.25, 0.10), ("left", "top", "centre"), "the top of the left room"),
        ((0.10, 0.50), ("left", "middle", "left"), "the left side of the left room"),
        ((0.25, 0.50), ("left", "middle", "centre"), "the middle of the left room"),
        ((0.75, 0.90), ("right", "bottom", "centre"), "the bottom of the right room"),
        ((0.41, 0.90), ("left", "bottom", "right"), "the bottom right corner of the left room"),
        ((0.49, 0.50), ("left", "middle", "right"), "the right side of the left room"),
        ((0.51, 0.50), ("right", "middle", "left"), "the left side of the right room"),
    ],
)
def test_regions_by_hand(state, region, phrase):
    found = REGIONS[region_of(np.array(state))]
    assert found == Region(*region) and found.phrase == phrase
    assert found.contains(np.array(state)) and not any(r.contains(np.array(state)) for r in REGIONS if r != found)


def test_regions_have_equal_shares_of_the_reachable_area():
    # The centre of the default disc reaches [0.08, 0.42] x [0.08, 0.92] of the left room.
    x, y = np.meshgrid(0.08 + 0.34 * (np.arange(90) + 0.5) / 90, 0.08 + 0.84 * (np.arange(90) + 0.5) / 90)
    left = np.stack([x, y], -1)
    right = np.stack([x + 0.5, y], -1)
    assert np.bincount(region_of(left).ravel(), minlength=18).tolist() == [900] * 9 + [0] * 9
    np.testing.assert_array_equal(region_of(right), region_of(left) + 9)


def test_a_middle_is_the_mean_of_what_the_default_disc_reaches_of_a_region():
    x, y = np.meshgrid(0.08 + 0.34 * (np.arange(90) + 0.5) / 90, 0.08 + 0.84 * (np.arange(90) + 0.5) / 90)
    points = np.concatenate([np.stack([x + room, y], -1).reshape(-1, 2) for room in (0, 0.5)])
    means = [points[region_of(points) == region].mean(axis=0) for region in range(18)]
    np.testing.assert_allclose(middle_of(np.arange(18), default_values(FACTORS, 18)), means, atol=1e-9)


def test_the_disc_can_stand_in_the_middle_of_every_region_of_every_world():
    numbers = [name for name in FACTORS if hasattr(FACTORS[name], "allowed")]
    worlds = np.array([*itertools.product(range(18), *(FACTORS[name].allowed for name in numbers))])
    region = worlds[:, 0].astype(int)
    factors = default_values(FACTORS, len(worlds)) | dict(zip(numbers, worlds[:, 1:].T, strict=True))
    middles = middle_of(region, factors)
    np.testing.assert_array_equal(region_of(middles), region)
    assert overlap(geometry(factors), middles).max() <= TOLERANCE


def test_mirroring_swaps_rooms_and_columns():
    states = np.random.default_rng(0).uniform(0.08, 0.92, (500, 2))
    other = {"left": "right", "right": "left", "centre": "centre"}
    for state, index in zip(states, region_of(states * [-1, 1] + [1, 0]), strict=True):
        room, row, column = REGIONS[region_of(state)]
        assert REGIONS[index] == (other[room], row, other[column])


def test_phrases_tell_all_regions_apart():
    assert len(REGIONS) == len({region.phrase for region in REGIONS}) == 18
    for one, other in itertools.permutations(REGIONS, 2):
        assert one.phrase not in other.phrase


@pytest.mark.parametrize("split", ["default", "sample", "held_out"])
def test_captions_are_truthful(split):
    env = TwoRoomsVectorEnv(60, size=8, factors=dict.fromkeys(FACTORS, split))
    _, info = env.reset(seed=2)
    rng = np.random.default_rng(0)
    seen = set()
    for i in range(60):
        values = {name: value[i] for name, value in info["factors"].items()}
        for sentence in captions(np.stack([env.state[i], env.goal[i]] * 4), values, rng)[::2]:
            named = [region for region in REGIONS if region.phrase in sentence]
            assert named == [REGIONS[region_of(env.state[i])]]
            words = re.findall(r"\w+", sentence.replace(named[0].phrase, ""))
            assert all((COLORS[word] == values["agent_color"]).all() for word in words if word in COLORS)
            assert "small" not in words or values["agent_size"] < 0.05
            assert "large" not in words or values["agent_size"] > 0.05
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  ", sentence)
            seen |= set(words)
    expected = {"sample": {"small", "large", "red"}, "held_out": {"large", "cyan"}, "default": {"red"}}[split]
    assert expected <= seen and ("small" in seen) == (split == "sample")


def test_colour_without_a_name_is_not_named():
    rng = np.random.default_rng(0)
    said = {caption(np.array([0.2, 0.2]), FACTOR | {"agent_color": (221, 40, 40)}, rng) for _ in range(100)}
    assert not any(color in sentence.split() for sentence in said for color in COLORS)
    assert len(said) >= 5


def test_same_seed_same_captions():
    states = np.random.default_rng(1).uniform(0.1, 0.9, (20, 2))
    one, two, three = (captions(states, FACTOR, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one == two != three


@pytest.mark.parametrize("split", ["default", "sample", "held_out"])
def test_scenes_are_truthful(split):
    """What is said of the rooms is what is drawn there: wall and doors by the geometry, colours by their names."""
    env = TwoRoomsVectorEnv(60, size=8, factors=dict.fromkeys(FACTORS, split))
    _, info = env.reset(seed=3)
    world, rng, count = geometry(info["factors"]), np.random.default_rng(0), Counter()
    for i in range(60):
        values = {name: value[i] for name, value in info["factors"].items()}
        said = " ".join(captions(np.repeat(env.state[i : i + 1], 20, axis=0), values, rng, scenes=True))
        door = world.doors[i][: values["door_number"]].mean(axis=1)
        band = 0.94 / len(door)
        height = ((door - 0.03) % band).mean() / band
        for thickness, color in re.findall(r"a (thin |thick |)(\w+) wall between", said):
            assert (np.array(COLORS[color]) == values["wall_color"]).all()
            assert {"": 0.055, "thin ": 0.0, "thick ": 0.06}[thickness] <= 2 * world.half[i]
            assert 2 * world.half[i] <= {"": 0.065, "thin ": 0.06, "thick ": 1.0}[thickness]
        for number, place in re.findall(r"(the|each of \w+) doors? is (high up|halfway|low down)", said):
            assert number == {1: "the", 2: "each of two", 3: "each of three"}[len(door)]
            low, high = {"high up": (0.0, 0.47), "halfway": (0.4, 0.6), "low down": (0.53, 1.0)}[place]
            assert low <= height <= high
        for colors in re.findall(r"floor is (\w+) on the left and (\w+) on the right", said):
            assert (np.array([COLORS[color] for color in colors])[0] == values["floor_color_left"]).all()
            assert (np.array([COLORS[color] for color in colors])[1] == values["floor_color_right"]).all()
        count.update({part: said.count(part) for part in (" wall between", " door", "floor is")})
    assert all(500 < number < 700 for number in count.values())
