"""Goals by hand: what an image, a sentence and their sum cost."""

import pytest
import torch

from jepa_wm.contracts import Future
from jepa_wm.dynamics.cost import ConstrainedActionCost
from jepa_wm.errors import UserError
from jepa_wm.goals import Avoid, Image, Keep, Sentence, Smoothness, State, Sum, as_goal
from jepa_wm.observations import Observation
from jepa_wm.planning.costs import Distance, rejected
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

LAST = Distance(final=1.0)


@torch.no_grad()
def test_goals_add_up_with_their_weights(model: WorldModel) -> None:
    picture, words = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8), ["the left room", "the top"]
    future = Future(torch.randn(2, 3, 4, 1, 6), torch.zeros(2, 3, 4, 2))
    image = (future.latents[:, :, -1] - model.encode(picture[:, None])).square().mean(dim=(-2, -1))
    assert model.text
    sentence = 1 - torch.stack(
        [model.text.similarity(future.latents[i, :, -1], model.text.text(words)[i]) for i in (0, 1)]
    )
    whole = Sum([Image(Observation(picture), weight=2.0), Sentence(words, weight=0.5)])
    total = whole.cost(model, 2, LAST)(future)
    torch.testing.assert_close(total, 2 * image + 0.5 * sentence)
    alone = whole.of(torch.tensor([False, True]))
    torch.testing.assert_close(alone.cost(model, 1, LAST)(Future(future.latents[1:], future.actions[1:])), total[1:])


@torch.no_grad()
def test_a_sentence_is_told_from_others_by_its_share_among_them(model: WorldModel) -> None:
    words, others = ["the left room", "the top"], ("the top", "the door")
    future = Future(torch.randn(2, 3, 4, 1, 6), torch.zeros(2, 3, 4, 2))
    assert model.text
    images = model.text.image(future.latents[:, :, -1])
    for environment, named in enumerate((["the left room", *others], list(others))):
        shares = (images[environment] @ model.text.text(named).T / 0.07).softmax(dim=-1)
        expected = -shares[:, 0].log()
        found = Sentence(words, against=others).cost(model, 2, LAST)(future)[environment]
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("words", ["the top", ["the door", "the top"]])
def test_a_sentence_that_is_told_from_itself_alone_is_refused(words: str | list[str]) -> None:
    with pytest.raises(UserError, match="'the top' is to be told from nothing but itself"):
        Sentence(words, against=["the top", "the top"])


@pytest.mark.parametrize("words", ["", " \n", ["the top", " "]])
def test_a_sentence_without_words_is_refused(words: str | list[str]) -> None:
    with pytest.raises(UserError, match=r"Sentence: got '.*'; expected words"):
        as_goal(words)
    with pytest.raises(UserError, match="Sentence: got ''; expected words"):
        Sentence("the top", against=["", "the door"])


def test_a_list_of_one_sentence_is_for_all() -> None:
    goal = as_goal(["the top"])
    assert goal.of(torch.tensor([True, False, True])) is goal


def test_a_goals_own_distance_goes_before_the_searchs(model: WorldModel) -> None:
    future = Future(torch.randn(1, 3, 4, 1, 6), torch.zeros(1, 3, 4, 2))
    seen = Observation(torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8))
    own = Image(seen, Distance("l1", 0.2)).cost(model, 1, LAST)(future)
    torch.testing.assert_close(own, Image(seen).cost(model, 1, Distance("l1", 0.2))(future))
    assert not torch.allclose(own, Image(seen).cost(model, 1, LAST)(future))


def test_what_is_no_goal_is_refused() -> None:
    with pytest.raises(UserError, match="a goal of type int; expected an image"):
        as_goal(3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="got goals of type str, Tensor; expected Goals"):
        Sum(["the top", torch.zeros(3, 8, 8)])  # type: ignore[list-item]
    with pytest.raises(UserError, match="got no goals"):
        Sum([])
    with pytest.raises(UserError, match="Sentence: got no sentences"):
        as_goal([])


@torch.no_grad()
def test_a_search_adds_its_terms_and_minds_its_constraints(model: WorldModel) -> None:
    seen = model.latents_of(Observation(torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)))
    goal, terms = State([1.0, 20.0]), [Smoothness(weight=0.5)]
    regions = [Avoid([-9.0, -90.0], [0.7, 90.0]), Keep([0.9, 19.0], [1.1, 21.0])]
    cost = model.action_cost(seen, goal, Search(terms=terms, constraints=regions))
    assert isinstance(cost, ConstrainedActionCost)
    tried = torch.rand(2, 5, 3, 2) * 2 - 1
    future = cost.imagine(tried)
    assert future.seen is not None and torch.equal(future.seen, seen) and torch.equal(future.actions, tried)
    costs, violations = cost.parts(tried)
    parts = [each.weight * each.cost(model, 2, Distance())(future) for each in (goal, *terms)]
    torch.testing.assert_close(costs, parts[0] + parts[1])
    assert parts[1].min() > 0
    each = [region.violation(model, goal)(future) for region in regions]
    torch.testing.assert_close(violations, each[0] + each[1])
    torch.testing.assert_close(cost(tried), rejected(costs, violations))
    assert violations.any()
