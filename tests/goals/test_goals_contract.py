"""What every goal and every constraint promises; one of a new file needs a case here, and is tested as the others."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F

from jepa_wm import goals
from jepa_wm.contracts import Future
from jepa_wm.encoders import TextAlignment
from jepa_wm.errors import UserError
from jepa_wm.goals import (
    Avoid,
    BlocksTo,
    Constraint,
    Goal,
    Image,
    Keep,
    Latents,
    Reward,
    Sentence,
    Smoothness,
    State,
    StepsToGo,
    Sum,
    Uncertainty,
)
from jepa_wm.goals.sentence import SentenceVectors
from jepa_wm.observations import Observation
from jepa_wm.planning.costs import Distance
from jepa_wm.world_model import WorldModel

E, S, K, D = 3, 4, 5, 6
DISTANCE = Distance(final=0.3, discount=0.8)
PICTURES = torch.randint(0, 256, (E, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
PLACES = torch.randn(E, 1, D, generator=torch.Generator().manual_seed(2))
VECTORS = F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(4)), dim=-1)
NUMBERS = [[1.0, 25.0], [0.4, 12.0], [1.3, 31.0]]
WORDS = ["the left room", "the top", "the door"]
CASES: dict[str, Callable[[], Goal]] = {
    "Image": lambda: Image(Observation(PICTURES)),
    "Latents": lambda: Latents(PLACES),
    "StepsToGo": lambda: StepsToGo(Observation(PICTURES)),
    "BlocksTo": lambda: BlocksTo(PLACES),
    "Sentence": lambda: Sentence(WORDS, against=("the right room", "the top")),
    "SentenceVectors": lambda: SentenceVectors(
        VECTORS[:3], VECTORS[2:], (VECTORS[:3, None] == VECTORS[2:]).all(dim=-1)
    ),
    "State": lambda: State(NUMBERS),
    "Reward": lambda: Reward(value="value"),
    "Smoothness": lambda: Smoothness(last=torch.tensor([[0.3, -0.9], [torch.nan] * 2, [0.8, 0.1]])),
    "Uncertainty": lambda: Uncertainty(discount=0.9),
    "Sum": lambda: Sum([State(NUMBERS, weight=2.0), Image(Observation(PICTURES), weight=0.5), Smoothness()]),
}
EACH = {
    "Image": lambda: Image(Observation(PICTURES[:2])),
    "Latents": lambda: Latents(PLACES[:2]),
    "Sentence": lambda: Sentence(WORDS[:2]),
    "SentenceVectors": lambda: SentenceVectors(VECTORS[:2], VECTORS[:0], torch.zeros(2, 0).bool()),
    "State": lambda: State(NUMBERS[:2]),
}
"""Goals for two environments."""
CONSTRAINTS: dict[str, Callable[[], Constraint]] = {
    "Avoid": lambda: Avoid([0.9, 15.0], [1.2, 25.0], margin=0.01),
    "Keep": lambda: Keep([0.9, 15.0], [1.2, 25.0], margin=0.01),
}


def found(kind: type) -> list[str]:
    """Names of the classes of this kind that the files of goals/ define and something can be made of."""
    stems = [path.stem for path in Path(inspect.getfile(goals)).parent.glob("*.py") if path.stem != "__init__"]
    modules = [import_module(f"jepa_wm.goals.{stem}") for stem in stems]
    own = [
        cls for module in modules for cls in vars(module).values() if getattr(cls, "__module__", "") == module.__name__
    ]
    return sorted(
        cls.__name__ for cls in own if inspect.isclass(cls) and issubclass(cls, kind) and not inspect.isabstract(cls)
    )


@pytest.fixture(params=found(Goal))
def goal(request: pytest.FixtureRequest) -> Goal:
    assert request.param in CASES, f"give {request.param} a case"
    return CASES[request.param]()


@pytest.fixture(params=found(Constraint))
def constraint(request: pytest.FixtureRequest) -> Constraint:
    assert request.param in CONSTRAINTS, f"give {request.param} a case"
    return CONSTRAINTS[request.param]()


def future(grad: bool = False) -> Future:
    random = torch.Generator().manual_seed(3)
    latents = torch.randn(E, S, K, 1, D, generator=random).requires_grad_(grad)
    actions = torch.rand(E, S, K, 2, generator=random).requires_grad_(grad)
    return Future(latents, actions, latents.square().mean(dim=(-2, -1)), torch.randn(E, 1, D, generator=random))


@torch.no_grad()
def test_some_environments_cost_what_they_cost_among_all(model: WorldModel, goal: Goal) -> None:
    mask, whole = torch.tensor([True, False, True]), goal.cost(model, E, DISTANCE)(future())
    assert whole.shape == (E, S) and torch.isfinite(whole).all()
    part = goal.of(mask)
    assert part.weight == goal.weight
    some = Future(*(None if member is None else member[mask] for member in future()))
    torch.testing.assert_close(part.cost(model, 2, DISTANCE)(some), whole[mask])


@torch.no_grad()
def test_a_settled_goal_costs_the_same_and_is_encoded_no_more(model: WorldModel, goal: Goal) -> None:
    mask, whole = torch.tensor([True, False, True]), goal.cost(model, E, DISTANCE)(future())
    some = Future(*(None if member is None else member[mask] for member in future()))
    settled = goal.settled(model)
    assert settled.weight == goal.weight
    with patch.object(model, "encode", side_effect=AssertionError), patch.object(TextAlignment, "text", None):
        torch.testing.assert_close(settled.cost(model, E, DISTANCE)(future()), whole)
        part = settled.of(mask).settled(model)
        torch.testing.assert_close(part.cost(model, 2, DISTANCE)(some), whole[mask])
        settled.where(model, "state")


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name, made in CASES.items() if hasattr(made(), "distance")])
def test_a_settled_goal_has_the_distance_and_the_weight_of_its_own(model: WorldModel, name: str) -> None:
    goal = replace(CASES[name](), distance=Distance(final=0.9), weight=2.0)  # type: ignore[call-arg]
    settled = goal.settled(model)
    found, others = (settled.cost(model, E, by)(future()) for by in (DISTANCE, Distance(final=0.1)))
    torch.testing.assert_close(found, CASES[name]().cost(model, E, Distance(final=0.9))(future()))
    assert torch.equal(found, others) and settled.weight == 2.0


@torch.no_grad()
def test_candidates_are_judged_one_by_one(model: WorldModel, goal: Goal) -> None:
    whole, order = future(), torch.tensor([2, 0, 3, 1])
    turned = Future(whole.latents[:, order], whole.actions[:, order], whole.uncertainty[:, order], whole.seen)  # type: ignore[index]
    cost = goal.cost(model, E, DISTANCE)
    torch.testing.assert_close(cost(turned), cost(whole)[:, order])


@torch.no_grad()
def test_what_is_no_number_costs_none(model: WorldModel, goal: Goal) -> None:
    whole = future()
    before = goal.cost(model, E, DISTANCE)(whole)
    for member in whole[:3]:
        assert member is not None
        member[1, 2] = torch.nan
    after = goal.cost(model, E, DISTANCE)(whole)
    assert after.isnan().nonzero().tolist() == [[1, 2]]
    torch.testing.assert_close(after.nan_to_num(), before.masked_fill(after.isnan(), 0.0))


def test_gradients_are_numbers(model: WorldModel, goal: Goal) -> None:
    given = future(grad=True)
    goal.cost(model, E, DISTANCE)(given).sum().backward()
    gradients = [member.grad for member in (given.latents, given.actions) if member.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() and gradient.any() for gradient in gradients)


@torch.no_grad()
def test_a_sum_heeds_the_weight(model: WorldModel, goal: Goal) -> None:
    alone = goal.cost(model, E, DISTANCE)(future())
    object.__setattr__(goal, "weight", 2.5)
    torch.testing.assert_close(Sum([goal]).cost(model, E, DISTANCE)(future()), 2.5 * alone)
    assert goal.of(torch.tensor([True, False, True])).weight == 2.5


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), "2", None])
def test_a_weight_that_is_no_number_is_refused(goal: Goal, weight: object) -> None:
    with pytest.raises(UserError, match=f"{type(goal).__name__}: got weight .*; expected a finite number"):
        replace(goal, weight=weight)  # type: ignore[type-var, call-arg]


@pytest.mark.parametrize("name", EACH)
def test_goals_of_other_environments_are_refused(model: WorldModel, name: str) -> None:
    with pytest.raises(UserError, match=r"got .*2 .*; expected 1 .*or 3, one an environment"):
        EACH[name]().cost(model, E, DISTANCE)


@pytest.mark.parametrize("name", EACH)
def test_some_of_other_environments_goals_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"got 2 .*; expected 1 or 3, one an environment"):
        EACH[name]().of(torch.tensor([True, False, True]))


@torch.no_grad()
def test_a_constraint_judges_candidates_one_by_one(model: WorldModel, constraint: Constraint) -> None:
    whole, order = future(), torch.tensor([2, 0, 3, 1])
    broken = constraint.violation(model, Smoothness())
    assert broken(whole).shape == (E, S) and (broken(whole) >= 0).all() and broken(whole).any()
    turned = Future(whole.latents[:, order], whole.actions[:, order], None, whole.seen)
    torch.testing.assert_close(broken(turned), broken(whole)[:, order])


@torch.no_grad()
def test_what_is_no_number_keeps_no_constraint(model: WorldModel, constraint: Constraint) -> None:
    whole = future()
    whole.latents[1, 2] = torch.nan
    broken = constraint.violation(model, Smoothness())(whole)
    assert broken.isnan().nonzero().tolist() == [[1, 2]]


def test_gradients_of_a_constraint_are_numbers(model: WorldModel, constraint: Constraint) -> None:
    given = future(grad=True)
    constraint.violation(model, Smoothness())(given).sum().backward()
    assert given.latents.grad is not None and torch.isfinite(given.latents.grad).all() and given.latents.grad.any()
