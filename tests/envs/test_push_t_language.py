"""Sentences about Push-T are true."""

import numpy as np
import pytest

from jepa_wm.envs.push_t_language import DIRECTIONS, caption, direction, place
from jepa_wm.envs.tee import to_world


def state(x, y, angle=0.0):
    return np.array([0.1, 0.1, x, y, np.sin(angle), np.cos(angle), 0, 0])


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [(0.1, 0.1, "top left"), (0.5, 0.5, "middle"), (0.5, 0.9, "bottom"), (0.99, 0.4, "right"), (1.0, 0.0, "top right")],
)
def test_places(x, y, said):
    assert place(state(x, y)) == said


def test_the_stem_points_where_it_is():
    words = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
    seen = set()
    for angle in np.linspace(-7, 7, 57):
        at = state(0.5, 0.5, angle)
        stem = to_world(np.array([0.0, 1.0]), at)
        said = direction(at)
        named = np.sum([words[word] for word in said.split(" and ")], axis=0)
        assert stem @ named / np.linalg.norm(named) > np.cos(np.pi / 8) - 1e-9
        seen.add(said)
    assert seen == set(DIRECTIONS)


def test_captions_say_both():
    rng = np.random.default_rng(0)
    said = {caption(state(0.2, 0.8, np.pi / 2), rng) for _ in range(50)}
    assert len(said) == 3
    for words in said:
        assert "bottom left" in words and "left" in words.replace("bottom left", "")
