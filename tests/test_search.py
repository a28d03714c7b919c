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


@pytest.mark.parametrize("name", ["seconds", "evaluations"])
@pytest.mark.parametrize("spent", [0, -1, float("nan"), "much"])
def test_what_makes_no_budget(name: str, spent: Any) -> None:
    with pytest.raises(UserError, match=f"budget: got {name} .*; expected a .*number above 0"):
        Budget(**{name: spent})


@pytest.mark.parametrize("evaluations", [0.5, 640.0])
def test_no_budget_judges_part_of_a_candidate(evaluations: Any) -> None:
    with pytest.raises(UserError, match=f"budget: got evaluations {evaluations}; expected a whole number"):
        Budget(evaluations=evaluations)
