"""How far apart two runs are: episodes of one source count together, and the interval lies about the difference."""

import pytest

from jepa_wm.control.compare import difference
from jepa_wm.control.results import Row
from jepa_wm.statistics import NORMAL


def rows(hits: str, sources: str) -> list[Row]:
    """An episode for each letter of `hits`, "1" for a success, from the source that `sources` names."""
    return [{"success": hit == "1", "source": source} for hit, source in zip(hits, sources, strict=True)]


def test_twelve_gains_in_one_source_are_one_gain() -> None:
    one, apart = (difference(rows("0" * 12, names), rows("1" * 12, names)) for names in ("a" * 12, "abcdefghijkl"))
    assert one["difference"] == apart["difference"] == 1 and one["gained"] == apart["gained"] == 12
    assert one["p"] == 1 and apart["p"] == 2 / 2**12
    # Where n pairs of n are gains, the score is at its limit z at the difference (n - z²) / (n + z²).
    for found, n in ((one, 1), (apart, 12)):
        expected = [(n - NORMAL**2) / (n + NORMAL**2), 1]
        assert found["difference_ci95"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("before", "after", "gained", "lost"),
    [("000001111", "111110111", 5, 1), ("111110111", "000001111", 1, 5), ("1" * 9, "0" * 9, 0, 9)],
)
def test_the_interval_holds_the_difference_of_the_second_from_the_first(
    before: str, after: str, gained: int, lost: int
) -> None:
    found = difference(rows(before, "abcdefghi"), rows(after, "abcdefghi"))
    low, high = found["difference_ci95"]
    assert (found["gained"], found["lost"]) == (gained, lost)
    assert low <= found["difference"] <= high and found["difference"] == pytest.approx((gained - lost) / 9)
    # Who is first changes signs, and nothing else.
    back = difference(rows(after, "abcdefghi"), rows(before, "abcdefghi"))
    assert back["difference_ci95"] == pytest.approx([-high, -low], abs=1e-9) and back["p"] == found["p"]
