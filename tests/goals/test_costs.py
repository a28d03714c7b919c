"""What each goal costs, by its closed form."""

import pytest
import torch

from jepa_wm.contracts import Future, Planner
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.errors import UserError
from jepa_wm.goals import Avoid, Image, Latents, Reward, Smoothness, State, Sum, Uncertainty
from jepa_wm.observations import Observation
from jepa_wm.planning import CEM, Amortised
from jepa_wm.planning.costs import Distance
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

LAST = Distance(final=1.0)


def given(environments: int = 2) -> Future:
    random = torch.Generator().manual_seed(5)
    latents = torch.randn(environments, 3, 4, 1, 6, generator=random)
    return Future(latents, torch.zeros(environments, 3, 4, 2), torch.rand(environments, 3, 4, generator=random))


@torch.no_grad()
def test_a_state_is_compared_in_standard_deviations(model: WorldModel) -> None:
    future, wanted = given(), torch.tensor([[1.0, 25.0], [0.4, 12.0]])
    away = (model.heads["state"](future.latents) - wanted[:, None, None]) / torch.tensor([0.5, 10.0])
    mean = Distance(final=0.3, discount=0.8)
    expected = mean.over_time(away.square().mean(dim=-1))
    torch.testing.assert_close(State(wanted).cost(model, 2, mean)(future), expected)
    torch.testing.assert_close(State(wanted.tolist(), distance=mean).cost(model, 2, LAST)(future), expected)
    second = State([25.0], columns=[1]).cost(model, 2, LAST)(future)
    torch.testing.assert_close(second[0], away[0, :, -1, 1].square())


@torch.no_grad()
def test_a_goal_that_is_met_costs_nothing_and_less_than_all_else(model: WorldModel) -> None:
    future = given(1)
    read = model.heads["state"](future.latents[0, 1, -1])
    costs = State(read).cost(model, 1, LAST)(future)[0]
    assert costs.argmin() == 1 and costs[1] < 1e-8 and costs[[0, 2]].min() > 1e-3
    picture = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    latents = future.latents.clone()
    latents[0, 2, -1] = model.latents_of(Observation(picture))[0]
    costs = Image(Observation(picture)).cost(model, 1, LAST)(Future(latents, future.actions))[0]
    assert costs.argmin() == 2 and costs[2] < 1e-8 and costs[:2].min() > 1e-3


@torch.no_grad()
def test_the_discount_is_the_value_heads_own(model: WorldModel) -> None:
    future, own = given(), model.heads["value"].discount
    with_value = Reward(value="value").cost(model, 2, LAST)(future)
    torch.testing.assert_close(with_value, Reward(value="value", discount=own).cost(model, 2, LAST)(future))
    model.heads["value"].discount = 0.5
    by_half = Reward(value="value").cost(model, 2, LAST)(future)
    model.heads["value"].discount = own
    torch.testing.assert_close(by_half, Reward(value="value", discount=0.5).cost(model, 2, LAST)(future))
    assert (by_half - with_value).abs().min() > 0
    alone = Reward().cost(model, 2, LAST)(future)
    torch.testing.assert_close(alone, Reward(discount=0.99).cost(model, 2, LAST)(future))


@torch.no_grad()
def test_an_action_that_may_not_move_is_smooth(model: WorldModel) -> None:
    future = given()._replace(actions=torch.rand(2, 3, 4, 2))
    free = Smoothness().cost(model, 2, LAST)(future._replace(actions=future.actions * torch.tensor([1.0, 0.0])))
    low, high = model.bounds.low.clone(), model.bounds.high.clone()
    model.bounds.low[1] = model.bounds.high[1] = 0.0
    held = Smoothness().cost(model, 2, LAST)(future._replace(actions=future.actions * torch.tensor([1.0, 0.0])))
    model.bounds.low.copy_(low)
    model.bounds.high.copy_(high)
    assert held.isfinite().all() and torch.equal(held, free)


@torch.no_grad()
def test_rewards_are_discounted_and_a_value_follows_them(model: WorldModel) -> None:
    future = given()
    rewards, value = model.heads["reward"](future.latents), model.heads["value"](future.latents[:, :, -1])
    assert rewards.std() > 0 and value.std() > 0
    gained = sum(0.9**step * rewards[:, :, step] for step in range(4))
    torch.testing.assert_close(Reward(discount=0.9).cost(model, 2, LAST)(future), -gained)
    torch.testing.assert_close(
        Reward(value="value", discount=0.9).cost(model, 2, LAST)(future), -(gained + 0.9**4 * value)
    )


def test_uncertainty_is_a_mean_over_the_steps(model: WorldModel) -> None:
    future = given()
    assert future.uncertainty is not None
    torch.testing.assert_close(Uncertainty().cost(model, 2, LAST)(future), future.uncertainty.mean(dim=-1))
    weights = torch.tensor([1.0, 0.5, 0.25, 0.125]) / 1.875
    expected = (future.uncertainty * weights).sum(dim=-1)
    torch.testing.assert_close(Uncertainty(discount=0.5).cost(model, 2, LAST)(future), expected)


def test_smoothness_counts_changes_in_halves_of_the_bounds(model: WorldModel) -> None:
    # Bounds are -1 to 1; the second column changes by 1 and by -2.
    actions = torch.tensor([[0.5, 0.0], [0.5, 1.0], [0.5, -1.0]])[None, None]
    cost = Smoothness().cost(model, 1, LAST)
    assert cost(Future(actions[..., None, :], actions)).item() == pytest.approx((1 + 4) / 2 / 2)
    # Six actions of their own in three blocks cost what six in six blocks do.
    steps = torch.rand(1, 3, 6, 2)
    torch.testing.assert_close(cost(Future(steps, steps.reshape(1, 3, 3, 4))), cost(Future(steps, steps)))
    assert cost(Future(steps, steps[:, :, :1])).tolist() == [[0.0, 0.0, 0.0]]
    # What was done last is one change more, where something was.
    done = Smoothness(last=torch.tensor([[0.5, 0.5], [torch.nan, torch.nan]])).cost(model, 2, LAST)
    both = actions.repeat(2, 1, 1, 1).requires_grad_()
    found = done(Future(both[..., None, :], both))
    assert found[:, 0].tolist() == pytest.approx([(0.25 + 1 + 4) / 2 / 3, (1 + 4) / 2 / 2])
    (slope,) = torch.autograd.grad(found.sum(), both)
    assert slope[0, 0, 0].tolist() == pytest.approx([0.0, (2 * -0.5 + 2 * -1.0) / 2 / 3]) and slope.isfinite().all()
    # What holds goals tells them.
    last = torch.tensor([[0.5, 0.5], [torch.nan, torch.nan]])
    told = Sum([Smoothness(), Sum([Smoothness(weight=2.0)])]).after(last)
    torch.testing.assert_close(told.cost(model, 2, LAST)(Future(both[..., None, :], both)), 3 * found)
    with pytest.raises(UserError, match=r"Smoothness.last: got actions \(3, 2\); expected \(2, 2\)"):
        Smoothness(last=torch.zeros(3, 2)).cost(model, 2, LAST)
    wide = WorldModel(model.encoder, model.dynamics)
    wide.bounds.prepare({"action_mean": [0.0] * 2, "action_std": [1.0] * 2, "action_bounds": ([-4.0, 0.0], [4.0, 8.0])})
    torch.testing.assert_close(
        Smoothness().cost(wide, 1, LAST)(Future(steps, steps)), cost(Future(steps, steps)) / 4**2
    )


@pytest.mark.parametrize(
    ("goal", "complaint"),
    [
        (State([1.0, 2.0], head="place"), r"no StateHead called 'place'; its heads: 'reward' \(RewardHead\), "),
        (State([1.0, 2.0], head="value"), "no StateHead called 'value'"),
        (State([1.0, 2.0, 3.0]), "1 rows of 3 numbers; expected 1 row or 2, one an environment, of 2"),
        (State([1.0], columns=[7]), r"got columns \[7\]; expected some of 0 to 1"),
        (Reward(head="state"), "no RewardHead called 'state'"),
        (Reward(value="worth"), "no ValueHead called 'worth'"),
    ],
)
def test_what_the_model_does_not_read_is_no_goal(model: WorldModel, goal: State, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        goal.cost(model, 2, LAST)


def test_a_single_predictor_is_never_in_doubt(model: WorldModel) -> None:
    single = WorldModel(model.encoder, TransformerDynamics(6, trunk=Trunk(12, 1, 2)))
    with pytest.raises(UserError, match=r"one predictor, TransformerDynamics.*train an Ensemble"):
        Uncertainty().cost(single, 2, LAST)
    with pytest.raises(UserError, match="no StateHead called 'state'; its heads: none"):
        State([1.0]).cost(single, 2, LAST)


@pytest.mark.parametrize("target", [[float("nan"), 1.0], [[1.0], [1.0, 2.0]], [], 3.0, "there", [[[1.0]]]])
def test_what_is_no_table_of_numbers_is_no_state(target: object) -> None:
    with pytest.raises(UserError, match="State: "):
        State(target)  # type: ignore[arg-type]


@pytest.mark.parametrize("discount", [-3.0, 1.5, float("nan"), "0.9"])
def test_rewards_are_discounted_by_a_share(discount: object) -> None:
    with pytest.raises(UserError, match=r"Reward: got discount .*; expected 0 to 1"):
        Reward(discount=discount)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [[[[0.0] * 6]], torch.zeros(6), torch.zeros(1, 6), torch.zeros(1, 1, 1, 6)])
def test_what_is_no_tensor_of_latents_is_refused(wrong: object) -> None:
    with pytest.raises(UserError, match=r"Latents: got .*; expected a tensor \(E, N, D\)"):
        Latents(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 5), (1, 2, 6)])
@pytest.mark.parametrize("planner", [CEM(4, 2, 1), Amortised()], ids=["searched", "proposed"])
def test_latents_of_another_shape_than_the_models_are_no_goal(
    model: WorldModel, shape: tuple[int, ...], planner: Planner
) -> None:
    seen, search = (
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8),
        Search(planner, 2, constraints=[Avoid([0.9], [1.2], [0])]),
    )
    for goal in (Latents(torch.zeros(shape)), Sum([Latents(torch.zeros(shape)), Smoothness()])):
        with pytest.raises(UserError, match=r"goal latents \(1, ., .\); expected \(E, 1, 6\)"):
            model.plan(seen, goal, search)


def test_a_picture_among_the_terms_is_of_the_size_that_is_seen(model: WorldModel) -> None:
    seen = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    larger = Image(Observation(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)))
    with pytest.raises(UserError, match=r"got a goal image \(3, 32, 32\); expected \(3, 16, 16\)"):
        model.plan(seen, Smoothness(), Search(CEM(4, 2, 1), horizon=2, terms=[larger]))


def test_pictures_of_another_make_are_refused(model: WorldModel) -> None:
    seen, search = torch.zeros(1, 3, 16, 16, dtype=torch.uint8), Search(horizon=2)
    for wrong in (seen.float(), seen[:, :1], seen[0, 0], torch.zeros(1, 3, 32, 32, dtype=torch.uint8)):
        with pytest.raises(UserError, match=r"plan: got a(n| goal) image .*; expected"):
            model.plan(seen, wrong, search)
    with pytest.raises(UserError, match=r"plan: got an image torch\.float32"):
        model.plan(seen.float(), seen, search)


@torch.no_grad()
def test_a_picture_may_be_compared_by_what_a_head_reads(model: WorldModel) -> None:
    future, pictures = given(), torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    latents = model.latents_of(Observation(pictures))
    missing = (model.heads["state"](future.latents) - model.heads["state"](latents)[:, None, None]).abs()
    by = Distance("l1", final=0.3, head="state")
    expected = by.over_time((missing / torch.tensor([0.5, 10.0])).mean(dim=-1))
    torch.testing.assert_close(Image(Observation(pictures)).cost(model, 2, by)(future), expected)
    torch.testing.assert_close(Latents(latents).cost(model, 2, by)(future), expected)
    with pytest.raises(UserError, match=r"distance\.head: this model has no StateHead called 'pose'"):
        Image(Observation(pictures)).cost(model, 2, Distance(head="pose"))
