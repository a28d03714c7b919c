import pytest

from jepa_wm.statistics import wilson


def test_wilson_solves_the_score_equation():
    for successes, n in [(0, 10), (3, 10), (81, 263), (200, 200)]:
        for bound in wilson(successes, n):
            if 0 < bound < 1:
                score = (successes / n - bound) / (bound * (1 - bound) / n) ** 0.5
                assert abs(score) == pytest.approx(1.96, rel=1e-9)


def test_wilson_published_value():
    # Newcombe 1998, table I: 81 of 263, 95 %.
    assert wilson(81, 263, z=1.959964) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_edges():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 20)[0] == 0.0 and 0.1 < wilson(0, 20)[1] < 0.2
    assert wilson(20, 20)[1] == 1.0
    with pytest.raises(ValueError):
        wilson(3, 2)
