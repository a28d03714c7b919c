"""What makes no search is refused when it is made, not when it is planned with."""

from typing import Any

import pytest

from jepa_wm.contracts import Budget
from jepa_wm.errors import UserError
from jepa_wm.goals import Avoid, Smoothness
from jepa_wm.planning import CEM, ICEM, MPPI, CategoricalCEM
from jepa_wm.search import Search


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"constraints": [Smoothness()]}, "expected a list of jepa_wm.goals.Constraint"),
        ({"terms": [Avoid([0.0], [1.0])]}, "expected a list of jepa_wm.goals.Goal"),
        ({"terms": Smoothness()}, "expected a list of jepa_wm.goals.Goal"),
        ({"planner": CEM}, r"expected one of jepa_wm.planning, as CEM\(\)"),
        ({"planner": "cem"}, "expected one of jepa_wm.planning"),
        ({"horizon": 2.5}, "expected whole numbers"),
        ({"replan": 9}, "expected 1 <= replan <= horizon"),
    ],
)
def test_what_makes_no_search(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"search: got .*{message}"):
        Search(**wrong)


@pytest.mark.parametrize(
    ("planner", "wrong"),
    [
        (CEM, {"momentum": 1.5}),
        (CEM, {"momentum": 1.0}),
        (CEM, {"min_std": -1.0}),
        (ICEM, {"momentum": -3.0}),
        (MPPI, {"min_std": float("nan")}),
        (CategoricalCEM, {"momentum": 1.5}),
    ],
)
def test_what_makes_no_planner(planner: type, wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"{planner.__name__}: .*{next(iter(wrong))}"):
        planner(**wrong)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_what_makes_no_budget(seconds: float) -> None:
    with pytest.raises(UserError, match="budget: got seconds"):
        Budget(seconds=seconds)
