"""What staying out of a region, and in one, comes to; by hand, with latents that are states."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jepa_wm.contracts import Future
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.heads import StateHead
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.errors import UserError
from jepa_wm.goals import Avoid, Image, Keep, Latents, Smoothness, State, Sum
from jepa_wm.observations import Observation
from jepa_wm.world_model import WorldModel

STD = torch.tensor([0.5, 2.0])


@pytest.fixture(scope="module")
def plain() -> WorldModel:
    """A model whose latents are states, in standard deviations from a mean of 1 and 3."""
    torch.manual_seed(0)
    head = StateHead(2, state_dim=2)
    head.prepare({"state_mean": [1.0, 3.0], "state_std": STD.tolist()})
    head.read = nn.Sequential(nn.Flatten(-2))
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(2, 2))
    return WorldModel(encoder, TransformerDynamics(2, trunk=Trunk(12, 1, 2)), heads={"state": head}).eval()


def way(*places: list[float]) -> Future:
    """From the first of some states to the others."""
    latents = ((torch.tensor(places) - torch.tensor([1.0, 3.0])) / STD)[:, None]
    return Future(latents[None, None, 1:], torch.zeros(1, 1, len(places) - 1, 2), None, latents[None, 0])


def broken(constraint: Avoid | Keep, model: WorldModel, future: Future) -> float:
    return constraint.violation(model, Smoothness())(future).item()


def test_a_thin_region_is_not_jumped_over(plain: WorldModel) -> None:
    wall = Avoid([1.4, 0.0], [1.5, 6.0])
    assert broken(wall, plain, way([1.0, 3.0], [1.3, 3.0], [1.2, 5.0])) == 0
    # In the middle of it, half its width is 0.05, a tenth of a standard deviation.
    across = pytest.approx(0.1, abs=1e-5)
    assert broken(wall, plain, way([1.0, 3.0], [2.0, 3.0])) == across
    assert broken(wall, plain, way([1.0, 3.0], [1.3, 3.0], [2.0, 3.0])) == across
    assert broken(wall, plain, way([1.0, 3.0], [2.0, 3.0], [1.0, 3.0])) == pytest.approx(0.2, abs=1e-5)
    assert broken(wall, plain, way([1.0, 3.0], [1.45, 3.0], [1.45, 3.0])) == pytest.approx(0.2, abs=1e-5)


def test_the_margin_is_in_units_of_the_state(plain: WorldModel) -> None:
    past = way([1.0, 3.0], [1.37, 3.0])
    assert broken(Avoid([1.4, 0.0], [1.5, 6.0]), plain, past) == 0
    assert broken(Avoid([1.4, 0.0], [1.5, 6.0], margin=0.05), plain, past) == pytest.approx(0.02 / 0.5, abs=1e-5)
    assert broken(Keep([0.0, 0.0], [1.4, 6.0]), plain, past) == 0
    assert broken(Keep([0.0, 0.0], [1.4, 6.0], margin=0.05), plain, past) == pytest.approx(0.02 / 0.5, abs=1e-5)


def test_who_is_inside_may_leave_and_not_stay_or_go_deeper(plain: WorldModel) -> None:
    region = Avoid([1.0, 0.0], [2.0, 6.0])
    assert broken(region, plain, way([1.2, 3.0], [0.9, 3.0], [0.5, 3.0])) == 0
    assert broken(region, plain, way([1.2, 3.0], [1.2, 3.0])) == pytest.approx(0.2 / 0.5, abs=1e-5)
    assert broken(region, plain, way([1.2, 3.0], [1.3, 3.0])) == pytest.approx(0.3 / 0.5, abs=1e-5)
    # Out on the far side, through its middle: as deep as the middle of the part inside, 1.6, less the depth of now.
    assert broken(region, plain, way([1.2, 3.0], [2.5, 3.0])) == pytest.approx((0.4 - 0.2) / 0.5, abs=1e-5)


def test_a_region_may_be_of_one_column_and_have_no_end(plain: WorldModel) -> None:
    half = Avoid([4.0], [float("inf")], columns=[1])
    assert broken(half, plain, way([1.0, 3.0], [9.0, 3.9], [-9.0, 0.0])) == 0
    assert broken(half, plain, way([1.0, 3.0], [1.0, 5.0])) == pytest.approx(1 / 2.0, rel=1e-3)
    kept = Keep([-float("inf")], [4.0], columns=[1])
    assert broken(kept, plain, way([1.0, 3.0], [9.0, 3.9])) == 0
    assert broken(kept, plain, way([1.0, 3.0], [1.0, 5.0], [1.0, 6.0])) == pytest.approx((1 + 2) / 2.0, rel=1e-3)


def test_what_nothing_could_reach_is_refused_at_once(plain: WorldModel) -> None:
    region = Avoid([1.0, 0.0], [2.0, 6.0])
    with pytest.raises(UserError, match=r"Avoid: 1 of 2 goals .* such as number 1 at \[1.5, 3.0\]"):
        region.violation(plain, Sum([Smoothness(), State([[0.5, 3.0], [1.5, 3.0]])]))
    region.violation(plain, State([0.5, 3.0]))
    # What the goal leaves open may lie outside.
    region.violation(plain, State([1.5], columns=[0]))
    with pytest.raises(UserError, match=r"Keep: 1 of 1 goals"):
        Keep([1.0, 0.0], [2.0, 6.0]).violation(plain, State([0.5], columns=[0]))
    picture = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        x, y = plain.heads["state"](plain.latents_of(Observation(picture)))[0].tolist()
        with pytest.raises(UserError, match="1 of 1 goals are where the constraint forbids"):
            Avoid([x - 0.1, y - 0.1], [x + 0.1, y + 0.1]).violation(plain, Image(Observation(picture)))
        Avoid([x + 0.1, y - 0.1], [x + 0.2, y + 0.1]).violation(plain, Image(Observation(picture)))


def test_goals_that_are_latents_are_where_a_head_reads_them(plain: WorldModel) -> None:
    goal = Latents(way([1.0, 3.0], [0.5, 3.0], [1.5, 3.0]).latents[0, 0])
    with pytest.raises(UserError, match=r"Avoid: 1 of 2 goals .* such as number 1 at \[1.5, 3.0\]"):
        Avoid([1.0, 0.0], [2.0, 6.0]).violation(plain, goal)
    Avoid([1.0, 0.0], [2.0, 6.0]).violation(plain, goal.of(torch.tensor([True, False])))
    assert goal.where(plain, "other") is None


def test_what_one_goal_leaves_open_another_says_in_any_order(plain: WorldModel) -> None:
    goals = [State([[3.0], [9.0]], columns=[1]), Smoothness(), Latents(way([1.0, 3.0], [1.5, 3.0]).latents[0, 0])]
    for together in (goals, goals[::-1]):
        met = Sum(together).where(plain, "state")
        assert met is not None and met[:, 0].tolist() == pytest.approx([1.5, 1.5])
        with pytest.raises(UserError, match=r"Avoid: . of . goals .* such as number 0 at \[1.5, 3.0\]"):
            Avoid([1.0, 0.0], [2.0, 6.0]).violation(plain, Sum(together))


def test_which_goals_are_forbidden_is_told(plain: WorldModel) -> None:
    region, goal = Avoid([1.0, 0.0], [2.0, 6.0], margin=0.2), State([[0.5, 3.0], [1.5, 3.0], [0.9, 3.0]])
    assert region.forbids(plain, goal).tolist() == [False, True, False]  # type: ignore[union-attr]
    assert region.forbids(plain, Smoothness()) is None


@pytest.mark.parametrize("kind", [Avoid, Keep])
@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"low": [1.0, 0.0], "high": [0.5, 1.0]}, "each low one below its high one"),
        ({"low": [1.0], "high": [0.5, 1.0]}, "as many numbers"),
        ({"low": [0.0], "high": [1.0], "margin": -0.1}, "margin -0.1; expected 0 or more"),
        ({"low": [0.0], "high": [float("nan")]}, "each low one below its high one"),
    ],
)
def test_no_boxes_are_refused(kind: Any, wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        kind(**wrong)


def test_a_margin_may_leave_no_room_to_stay_in() -> None:
    with pytest.raises(UserError, match="with room for the margin"):
        Keep([0.0], [1.0], margin=0.5)


def test_regions_of_what_the_model_does_not_read_are_refused(plain: WorldModel) -> None:
    for constraint, complaint in [
        (Avoid([0.0], [1.0], columns=[2]), r"got columns \[2\]; expected some of 0 to 1"),
        (Avoid([0.0], [1.0]), "got corners of 1 numbers; expected 2"),
        (Keep([0.0, 0.0], [1.0, 1.0], head="place"), r"no StateHead called 'place'; its heads: 'state' \(StateHead\)"),
    ]:
        with pytest.raises(UserError, match=complaint):
            constraint.violation(plain, Smoothness())


def test_states_are_where_their_numbers_say(plain: WorldModel) -> None:
    met = State([[4.0], [5.0]], columns=[1]).where(plain, "state")
    assert isinstance(met, Tensor) and met[:, 1].tolist() == [4.0, 5.0] and met[:, 0].isnan().all()
    assert State([4.0], columns=[1]).where(plain, "other") is None
