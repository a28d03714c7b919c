"""What makes no search is refused when it is made, not when it is planned with."""

from math import inf
from typing import Any

import pytest

from jepa_wm.contracts import Budget
from jepa_wm.errors import UserError
from jepa_wm.goals import Avoid, Constraint, Keep, Smoothness
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
        ({"hold": "no"}, "hold 'no'; expected true or false"),
        ({"budget": 0}, r"budget 0; expected a jepa_wm\.contracts\.Budget"),
        ({"budget": 100}, r"budget 100; expected a jepa_wm\.contracts\.Budget"),
        ({"distance": "l1"}, r"distance 'l1'; expected a jepa_wm\.planning\.costs\.Distance"),
    ],
)
def test_what_makes_no_search(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"search: got .*{message}"):
        Search(**wrong)


WALL = Avoid([0.2, -inf], [0.4, inf])


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([Keep([0, 0], [0.3, 1]), Keep([0.7, 0], [1, 1])], r"Keep\(low=\[0, 0\].* and Keep\(low=\[0.7, 0\].* no room"),
        ([Keep([0.0], [0.5]), WALL, Keep([0.45], [1.0], margin=0.05)], "have no room in common"),
        ([Keep([0.0], [0.3], columns=[1]), Keep([0.0, 0.3], [1.0, 1.0])], "have no room in common"),
        ([Keep([0.25], [0.35], columns=[0]), WALL], r"Avoid\(low=\[0.2.* forbids all that Keep\(low=\[0.25\]"),
        ([WALL, Keep([0.1, 0.0], [0.35, 1.0]), Keep([0.25], [0.9], columns=[0])], "all that Keep.* and Keep.* leaves"),
        ([Avoid([0.1], [0.3], margin=0.1), Keep([0.0], [0.5], margin=0.1)], "forbids all that Keep"),
        ([Avoid([-inf], [inf])], "forbids everything"),
    ],
)
def test_constraints_that_leave_no_room_are_refused(constraints: list[Constraint], message: str) -> None:
    with pytest.raises(UserError, match=f"search: got .*{message}"):
        Search(constraints=constraints)


@pytest.mark.parametrize(
    "constraints",
    [
        [Keep([0.0], [0.5]), Keep([0.4], [1.0])],
        [Keep([0.0], [0.3]), Keep([0.7], [1.0], head="place")],
        [Keep([0.0], [0.3], columns=[0]), Keep([0.7], [1.0], columns=[1])],
        [WALL, Keep([0.25, 0.0], [0.45, 1.0])],
        [WALL, Keep([0.25, 0.0], [0.35, 1.0], head="place")],
        [Keep([0.25], [0.35], columns=[0]), Avoid([0.2, 0.0], [0.4, 0.5])],
        [Avoid([-inf], [0.5]), Avoid([0.5], [inf])],
    ],
)
def test_constraints_that_leave_room_are_not(constraints: list[Constraint]) -> None:
    assert Search(constraints=constraints).constraints == constraints


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
@pytest.mark.parametrize("spent", [0, -1, float("nan"), inf, "much"])
def test_what_makes_no_budget(name: str, spent: Any) -> None:
    with pytest.raises(UserError, match=f"budget: got {name} .*; expected a .*number above 0"):
        Budget(**{name: spent})


@pytest.mark.parametrize("evaluations", [0.5, 640.0])
def test_no_budget_judges_part_of_a_candidate(evaluations: Any) -> None:
    with pytest.raises(UserError, match=f"budget: got evaluations {evaluations}; expected a whole number"):
        Budget(evaluations=evaluations)
