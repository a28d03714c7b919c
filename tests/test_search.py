"""What makes no search is refused when it is made, not when it is planned with."""

from collections import Counter
from contextlib import nullcontext
from math import inf
from random import Random
from time import perf_counter
from typing import Any

import pytest
import torch

from jepa_wm.contracts import Budget
from jepa_wm.errors import UserError
from jepa_wm.goals import Avoid, Constraint, Keep, Smoothness
from jepa_wm.goals.box import Box
from jepa_wm.goals.region import Region
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
TILES = [Avoid([0.3 * i], [0.4 * (i + 1)]) for i in range(3)]


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
        ([Avoid([-inf], [0.6]), Avoid([0.5], [inf])], r"0\.6.* and Avoid.*0\.5.*, which together forbid everything"),
        ([Avoid([-inf], [0.5]), Avoid([0.5], [inf])], "together forbid everything"),
        (
            [Avoid([-inf], [0.0]), *TILES, Avoid([1.0], [inf])],
            r"and Avoid\S*.* and 2 more, which together forbid every",
        ),
        ([Avoid([-inf], [0.5], margin=0.1), Avoid([0.8], [inf], margin=0.2)], "together forbid everything"),
        ([Avoid([-inf], [0.5]), Avoid([0.5, -inf], [inf, 0.1]), Avoid([0.1], [inf], columns=[1])], "forbid everything"),
        ([Keep([0, 0], [1, 1]), WALL, Avoid([0], [0.2]), Avoid([0.4], [2])], "together forbid all that Keep.* leaves"),
        (
            [WALL, Avoid([-inf, 0], [inf, 1]), Keep([0], [1], columns=[1])],
            r"Avoid\(low=\[-inf, 0\].*, which forbids all",
        ),
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
        [Avoid([-inf], [0.5]), Avoid([0.51], [inf])],
        [Avoid([-inf], [0.6]), Avoid([0.5], [inf], head="place")],
        [Avoid([-inf], [0.6], columns=[0]), Avoid([0.5], [inf], columns=[1])],
        [Avoid([-inf], [0.5]), Avoid([0.5, -inf], [inf, 0.1]), Avoid([0.2], [inf], columns=[1])],
    ],
)
def test_constraints_that_leave_room_are_not(constraints: list[Constraint]) -> None:
    assert Search(constraints=constraints).constraints == constraints


COLUMNS: list[list[int] | None] = [None, [0], [1], [2], [2, 0]]


def drawn(random: Random) -> Region:
    """A region of some of three columns that begins and ends at whole numbers, margin counted, or has no end."""
    kind, margin, columns = random.choice([Avoid] * 6 + [Keep]), random.choice([0, 1]), random.choice(COLUMNS)
    ends = [sorted(random.sample(range(6), 2)) for _ in columns or range(3)]
    inwards = margin if kind is Avoid else -margin
    low = [random.choice([low + inwards, -inf]) for low, _ in ends]
    high = [random.choice([max(high - inwards, low + inwards + 1), inf]) for low, high in ends]
    return kind(low, high, columns, random.choice(["state"] * 5 + ["place"]), margin)


def free(regions: list[Region]) -> bool:
    """Whether some point between whole numbers breaks none of the regions, as plans are judged."""
    axis = torch.arange(-3, 8) + 0.5
    points = torch.cartesian_prod(axis, axis, axis)[None]
    kept = torch.ones(points.shape[:2], dtype=torch.bool)
    for region in regions:
        some = points if region.columns is None else points[..., region.columns]
        box = Box(*(torch.tensor(corner).float().clamp(-99, 99) for corner in region.corners()))
        kept &= region.broken(box, some, some[:, :, None]) == 0
    return bool(kept.any())


def test_regions_are_refused_where_no_point_of_a_grid_is_left() -> None:
    random, count = Random(0), Counter[bool]()
    for _ in range(200):
        regions = [drawn(random) for _ in range(random.randint(1, 7))]
        room = all(free([region for region in regions if region.head == head]) for head in ("state", "place"))
        count[room] += 1
        with nullcontext() if room else pytest.raises(UserError, match=r"no room in common|forbid"):
            Search(constraints=regions)
    assert min(count.values()) > 40


def test_many_regions_of_many_columns_take_no_time() -> None:
    """A full answer would take 41 ** 7 cells; what a single region says is found all the same."""
    random = Random(0)
    lows = [[random.random() for _ in range(7)] for _ in range(20)]
    many = [Avoid(low, [x + 0.5 for x in low]) for low in lows]
    start = perf_counter()
    Search(constraints=many)
    with pytest.raises(UserError, match=r"got Avoid\(low=\[-inf\].*\), which forbids everything"):
        Search(constraints=[*many, Avoid([-inf], [inf])])
    assert perf_counter() - start < 2


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
