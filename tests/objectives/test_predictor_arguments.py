"""Sizes of a predictor that cannot be are refused when they are given."""

from typing import Any

import pytest

from jepa_wm.encoders import Learned
from jepa_wm.errors import UserError
from jepa_wm.objectives import PredictorOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 100, "heads": 3}, "width 100 and 3 heads; expected heads that divide width"),
        ({"positions": Learned((1, 4, 4))}, "got Learned, a table to be learned; expected SinCos"),
    ],
)
def test_they_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PredictorOptions(**options)
