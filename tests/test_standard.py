"""Statistics that no data has."""

import pytest

from jepa_wm.errors import UserError
from jepa_wm.standard import Standard

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("mean", "std"), [([NAN, 0.0], [1.0, 1.0]), ([0.0, 0.0], [1.0, INFINITY]), ([0.0, 0.0], [1.0, -1.0])]
)
def test_statistics_that_are_no_numbers_are_refused(mean: list[float], std: list[float]) -> None:
    standard = Standard(2, "state")
    with pytest.raises(UserError, match=r"state_mean is .* state_std .*expected numbers, and deviations of 0 or more"):
        standard.prepare({"state_mean": mean, "state_std": std})
    assert standard.mean.tolist() == [0.0, 0.0] and standard.std.tolist() == [1.0, 1.0]
