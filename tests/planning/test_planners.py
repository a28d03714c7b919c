"""Each planner against its closed form, brute force, or another implementation."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from jepa_wm.contracts import Budget, Plan
from jepa_wm.errors import UserError
from jepa_wm.planning import (
    CEM,
    ICEM,
    LBFGS,
    MPPI,
    CategoricalCEM,
    GradientPlanner,
    PredictiveSampling,
    ProjectedGradient,
    RandomShooting,
)
from jepa_wm.planning.icem import coloured
from jepa_wm.planning.mppi import weights
from jepa_wm.planning.sampling import fit

Solve = Callable[..., Plan]
FAR = 1e6
"""Bounds that nothing reaches; the spread at the start is as large."""


def unbounded(planner: object, cost: Callable, mean: Tensor, std: float = 1.0) -> Plan:
    """Plan where no bound is in the way."""
    bound = torch.full(mean.shape[2:], FAR)
    generator = torch.Generator().manual_seed(0)
    return planner.plan(cost, mean, torch.full_like(mean, std), -bound, bound, generator)  # type: ignore[attr-defined]


def test_the_gaussian_of_cem_is_fitted_to_the_cheapest(quadratic: Callable) -> None:
    seen: list[Tensor] = []
    target = torch.tensor([[[2.0, -1.0], [0.5, 3.0]]])
    trace = unbounded(CEM(40, 6, 2, momentum=0.25), quadratic(target, seen), torch.zeros(1, 2, 2)).trace
    costs = (seen[0][0] - target).square().sum(dim=(1, 2))
    elites = seen[0][0][costs.argsort()[:6]]
    mean, std = 0.75 * elites.mean(dim=0), 0.75 * elites.std(dim=0) + 0.25
    torch.testing.assert_close(seen[1][0, 0], mean)
    generator = torch.Generator().manual_seed(0)
    _, noise = (torch.randn(count, 2, 2, generator=generator) for count in (39, 38))
    torch.testing.assert_close(seen[1][0, 1:], mean + std * noise)
    torch.testing.assert_close(trace["elites"][0, 0], costs.sort().values[:6].mean())


@pytest.mark.parametrize("budget", [None, Budget(evaluations=120), Budget(evaluations=121), Budget(evaluations=130)])
@pytest.mark.parametrize("cls", [CEM, ICEM, MPPI])
def test_the_mean_that_is_fitted_last_is_judged_too(cls: type, budget: Budget | None, quadratic: Callable) -> None:
    evaluations = 120 if budget is None else budget.evaluations
    seen: list[Tensor] = []
    target = 3 * torch.rand(3, 10, 4, generator=torch.Generator().manual_seed(5))
    cost, start = quadratic(target, seen), torch.zeros(3, 10, 4)
    made = {CEM: CEM(40, 8, 3, momentum=0.0), ICEM: ICEM(40, 8, 3, keep=0.0, decay=1.0, momentum=0.0)}
    planner = made.get(cls, MPPI(40, 8, 3))
    bound = torch.full((4,), FAR)
    plan = planner.plan(cost, start, torch.ones_like(start), -bound, bound, torch.Generator().manual_seed(0), budget)
    assert sum(tried.shape[1] for tried in seen) == evaluations
    last, rest = seen[-1], seen[-2]
    assert last.shape[1] == 1
    costs = (rest - target[:, None]).square().sum(dim=(2, 3))
    if cls is not MPPI:
        elites = rest.gather(1, costs.topk(8, largest=False).indices[..., None, None].expand(-1, -1, 10, 4))
        torch.testing.assert_close(last[:, 0], elites.mean(dim=1))
    means = (last[:, 0] - target).square().sum(dim=(1, 2))
    assert (plan.cost <= means).all()
    if cls is CEM and evaluations < 130:
        # In forty dimensions the mean of many elites is better than all that was drawn, while these are far apart.
        torch.testing.assert_close(plan.actions, last[:, 0])


@pytest.mark.parametrize("cls", [CEM, ICEM, MPPI])
def test_a_spread_does_not_fall_below_its_share(cls: type, quadratic: Callable) -> None:
    start = torch.zeros(1, 2, 2)
    trace = unbounded(cls(64, 4, 30, min_std=0.1), quadratic(start), start, std=5.0).trace
    assert trace["spread"][-1].item() == pytest.approx(0.5, rel=0.05)
    assert (trace["spread"] >= 0.5 - 1e-6).all()


def test_icem_without_what_is_its_own_is_cem(quadratic: Callable, solve: Solve) -> None:
    target, start = torch.rand(2, 5, 3) - 0.5, torch.zeros(2, 5, 3)
    plain = ICEM(64, 8, 6, beta=0.0, keep=0.0, decay=1.0)
    torch.testing.assert_close(
        solve(plain, quadratic(target), start).actions, solve(CEM(64, 8, 6), quadratic(target), start).actions
    )


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("steps", [1, 2, 33, 64])
def test_coloured_noise_follows_its_power_law(beta: float, steps: int) -> None:
    noise = coloured(torch.randn(20000, steps, 2, generator=torch.Generator().manual_seed(0)), beta)
    torch.testing.assert_close(noise.std(dim=0), torch.ones(steps, 2), rtol=0.03, atol=0)
    assert noise.mean(dim=0).abs().max() < 0.04
    assert (noise[..., 0] * noise[..., 1]).mean().abs() < 0.03
    if steps > 2:
        frequencies = torch.fft.rfftfreq(steps)[1:].log()
        power = torch.fft.rfft(noise, dim=1)[:, 1:].abs().square().mean(dim=(0, 2)).log()
        away = frequencies - frequencies.mean()
        slope = (away * power).sum() / away.square().sum()
        assert slope.item() == pytest.approx(-beta, abs=0.03)


def test_icem_draws_fewer_and_fewer_but_twice_the_elites(quadratic: Callable, solve: Solve) -> None:
    seen: list[Tensor] = []
    solve(ICEM(100, 20, 8, decay=1.25), quadratic(torch.zeros(1, 4, 2), seen), torch.zeros(1, 4, 2))
    assert [tried.shape[1] for tried in seen] == [100, 80, 64, 51, 40, 40, 40, 39, 1]


def test_kept_elites_of_icem_stand_again_at_the_cost_they_had(solve: Solve) -> None:
    rounds = [0]

    def rising(candidates: Tensor) -> Tensor:
        rounds[0] += 1
        return candidates.square().sum(dim=(2, 3)) + 1000.0 * rounds[0]

    elites = solve(ICEM(64, 10, 4, keep=1.0), rising, torch.zeros(1, 4, 2)).trace["elites"]
    assert (elites == elites[0]).all()
    rounds[0] = 0
    elites = solve(ICEM(64, 10, 4, keep=0.3), rising, torch.zeros(1, 4, 2)).trace["elites"]
    assert ((elites.diff(dim=0) - 700).abs() < 300).all()


def test_smooth_noise_goes_far_with_fewer_evaluations(solve: Solve) -> None:
    goal = torch.tensor([[9.0, -10.0]]).expand(4, 2)

    def left(candidates: Tensor) -> Tensor:
        return (candidates.sum(dim=2) - goal[:, None]).square().sum(dim=-1)

    smooth, rough = (
        solve(ICEM(64, 6, beta=beta), left, torch.zeros(4, 12, 2), Budget(evaluations=128)).cost.mean()
        for beta in (2.5, 0.0)
    )
    assert smooth < 0.5 * rough


def test_weights_of_mppi_in_closed_form() -> None:
    costs = torch.tensor([[1.0, 2.0, 4.0, torch.inf], [3.0, 3.0, 3.0, 3.0], [torch.inf] * 4])
    typical = (0 + 1 + 3) / 3
    by_hand = [1.0, *torch.tensor([-1 / (0.5 * typical), -3 / (0.5 * typical)]).exp().tolist(), 0.0]
    torch.testing.assert_close(weights(costs, 0.5), torch.tensor([by_hand, [1.0] * 4, [0.0] * 4]))


def test_fitted_spread_is_not_biased() -> None:
    drawn, old = torch.randn(20000, 6, 1, 1, dtype=torch.float64), torch.ones(20000, 1, 1, dtype=torch.float64)
    weights = torch.tensor([[1.0, 1, 1, 1, 1, 1], [3, 1, 1, 0.5, 0, 0], [5, 0, 0, 0, 0, 0]], dtype=torch.float64)
    alike, unlike, alone = (fit(drawn, row.expand(20000, 6), old, old)[1] for row in weights)
    torch.testing.assert_close(alike, drawn.std(dim=1))
    assert unlike.square().mean().item() == pytest.approx(1, abs=0.03)
    assert (alone == 0).all()


def test_a_fit_in_closed_form_counts_two_at_least_and_keeps_the_old_where_nothing_weighs() -> None:
    candidates = torch.tensor([0.0, 6.0])[:, None, None].expand(3, 2, 1, 1)
    weights, old = torch.tensor([[0.1, 0.1], [0.25, 0.05], [0.0, 0.0]]), torch.full((3, 1, 1), 7.0)
    mean, std = fit(candidates, weights, old, old + 1)
    assert mean.flatten().tolist() == pytest.approx([3.0, 1.0, 7.0])
    # The second are as good as 18 / 13 alike, which would be a spread of more than a pair's.
    assert std.flatten().tolist() == pytest.approx([18**0.5, 10**0.5, 8.0])


@pytest.mark.parametrize("cls", [CEM, ICEM, MPPI])
def test_nothing_is_fitted_to_candidates_without_a_finite_cost(cls: type) -> None:
    """In the first environment two of six elites have one, in the second none."""
    seen: list[Tensor] = []

    def cost(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        costs = torch.full(candidates.shape[:2], torch.inf)
        costs[0, 3:9:5] = 1.0
        return costs

    made = {CEM: CEM(40, 6, 3, 0.0, 0.0), ICEM: ICEM(40, 6, 3, keep=0.0, decay=1.0, momentum=0.0, min_std=0.0)}
    unbounded(made.get(cls, MPPI(40, 6, 3, min_std=0.0)), cost, torch.full((2, 3, 2), 5.0), std=2.0)
    pair = seen[0][0, 3:9:5]
    torch.testing.assert_close(seen[1][0, 0], pair.mean(dim=0))
    torch.testing.assert_close(seen[1][1, 0], torch.full((3, 2), 5.0))
    # Both have the same noise.
    drawn, still = ((tried[1:] - tried[0]) for tried in seen[1])
    torch.testing.assert_close(drawn / pair.std(dim=0), still / 2, rtol=1e-4, atol=1e-4)


def test_mppi_goes_on_from_the_weighted_mean_and_spread(quadratic: Callable) -> None:
    seen: list[Tensor] = []
    target = torch.tensor([[[2.0, -1.0], [0.5, 3.0]]])
    unbounded(MPPI(40, 6, 2, temperature=0.8), quadratic(target, seen), torch.zeros(1, 2, 2))
    costs, order = (seen[0][0] - target).square().sum(dim=(1, 2)).sort()
    excess = costs[:6] - costs[0]
    share = torch.softmax(-excess / (0.8 * excess.mean()), dim=0)
    elites = seen[0][0][order[:6]]
    mean = torch.einsum("s,ska->ka", share, elites)
    torch.testing.assert_close(seen[1][0, 0], mean)
    std = (torch.einsum("s,ska->ka", share, (elites - mean).square()) / (1 - share.square().sum())).sqrt()
    generator = torch.Generator().manual_seed(0)
    _, noise = (torch.randn(count, 2, 2, generator=generator) for count in (39, 38))
    torch.testing.assert_close(seen[1][0, 1:], mean + std * noise)


def test_hot_mppi_is_cem_and_cold_mppi_follows_the_best(quadratic: Callable, solve: Solve) -> None:
    target, start = torch.rand(2, 5, 3) - 0.5, torch.zeros(2, 5, 3)
    hot, plain = MPPI(64, 8, 5, temperature=1e6), CEM(64, 8, 5, momentum=0.0)
    torch.testing.assert_close(
        solve(hot, quadratic(target), start).actions,
        solve(plain, quadratic(target), start).actions,
        rtol=1e-4,
        atol=1e-4,
    )
    seen: list[Tensor] = []
    solve(MPPI(64, 8, 2, temperature=1e-6), quadratic(target, seen), start)
    best = (seen[0] - target[:, None]).square().sum(dim=(2, 3)).argmin(dim=1)
    torch.testing.assert_close(seen[1][:, 0], seen[0][torch.arange(2), best])


def test_predictive_sampling_looks_around_the_best_so_far(quadratic: Callable) -> None:
    seen: list[Tensor] = []
    target = torch.full((1, 2, 2), 3.0)
    unbounded(PredictiveSampling(2000, 3, noise=0.5), quadratic(target, seen), torch.zeros(1, 2, 2), std=2.0)
    for before, after in itertools.pairwise(seen):
        best = before[0, (before - target[:, None]).square().sum(dim=(2, 3)).argmin()]
        assert torch.equal(after[0, 0], best)
        torch.testing.assert_close(after[0].mean(dim=0), best, rtol=0, atol=0.1)
        torch.testing.assert_close(after[0].std(dim=0), torch.ones(2, 2), rtol=0.1, atol=0)


def test_random_shooting_draws_everywhere_alike(quadratic: Callable, solve: Solve) -> None:
    seen: list[Tensor] = []
    start = torch.full((2, 3, 2), 0.123)
    solve(RandomShooting(500, 4), quadratic(start, seen), start, low=-3.0, high=5.0)
    assert torch.equal(seen[0][:, 0], start)
    drawn = torch.cat(seen, dim=1)[:, 1:].sort(dim=1).values
    levels = torch.linspace(-3, 5, drawn.shape[1])[:, None, None]
    assert (drawn - levels).abs().max() / 8 < 0.05


def test_adam_steps_as_torch_does() -> None:
    generator = torch.Generator().manual_seed(1)
    target, sharp = torch.randn(1, 2, 2, generator=generator), torch.rand(2, 2, generator=generator) * 5
    seen: list[Tensor] = []

    def cost(candidates: Tensor) -> Tensor:
        seen.append(candidates.detach())
        return (sharp * (candidates - target[:, None]).square()).sum(dim=(2, 3))

    unbounded(GradientPlanner(1, 30, rate=0.1), cost, torch.zeros(1, 2, 2), std=3.0)
    actions = torch.zeros(1, 2, 2, requires_grad=True)
    theirs = torch.optim.Adam([actions], lr=0.3, eps=0.0)
    for tried in seen:
        torch.testing.assert_close(tried[:, 0], actions.detach(), rtol=1e-4, atol=1e-5)
        theirs.zero_grad()
        (sharp * (actions - target).square()).sum().backward()
        theirs.step()


def test_noise_shakes_all_starts_but_the_first(quadratic: Callable) -> None:
    calm, shaken = [], []
    for noise, seen in ((0.0, calm), (0.5, shaken)):
        planner = GradientPlanner(200, 2, rate=0.01, noise=noise)
        unbounded(planner, quadratic(torch.zeros(1, 2, 2), seen), torch.ones(1, 2, 2))
    torch.testing.assert_close(shaken[1][0, 0], calm[1][0, 0])
    torch.testing.assert_close((shaken[1] - calm[1])[0, 1:].std(dim=0), torch.full((2, 2), 0.5), rtol=0.2, atol=0)


def test_adam_beats_random_shooting_in_forty_dimensions(quadratic: Callable, solve: Solve) -> None:
    target = torch.rand(3, 10, 4) * 1.8 - 0.9
    adam, floor = (
        solve(planner, quadratic(target), torch.zeros(3, 10, 4), Budget(evaluations=640)).cost
        for planner in (GradientPlanner(), RandomShooting())
    )
    assert (adam < 0.02 * floor).all()


def test_the_step_of_projected_gradient_halves_where_it_leads_up(quadratic: Callable) -> None:
    seen: list[Tensor] = []
    unbounded(ProjectedGradient(1, 9, step=0.25), quadratic(torch.zeros(1, 1, 1), seen), torch.full((1, 1, 1), 0.3), 2)
    by_hand = [0.3, -0.2, 0.3, 0.05, -0.2, -0.075, -0.0125, 0.05, 0.01875]
    assert torch.cat(seen).flatten().tolist() == pytest.approx(by_hand, abs=1e-6)


def test_a_point_of_projected_gradient_that_starts_anew_takes_whole_steps_again(quadratic: Callable) -> None:
    """The second trial is no better than the first, half a step leads to the optimum, where the point rests."""
    seen: list[Tensor] = []
    unbounded(ProjectedGradient(1, 5, step=0.25), quadratic(torch.zeros(1, 1, 1), seen), torch.full((1, 1, 1), 0.25), 2)
    generator = torch.Generator().manual_seed(0)
    anew = 0.25 + 2 * [torch.randn(1, generator=generator).item() for _ in range(3)][-1]
    by_hand = [0.25, -0.25, 0.0, anew, anew - (0.5 if anew > 0 else -0.5)]
    assert torch.cat(seen).flatten().tolist() == pytest.approx(by_hand, abs=1e-6)


def ill_conditioned(environments: int, size: int) -> tuple[Tensor, Tensor]:
    """Matrices (E, n, n) whose eigenvalues lie between 1 and 100, and vectors (E, n)."""
    generator = torch.Generator().manual_seed(2)
    turn = torch.linalg.qr(torch.randn(environments, size, size, generator=generator)).Q
    matrix = turn @ torch.diag(torch.logspace(0, 2, size)) @ turn.mT
    return matrix, torch.randn(environments, size, generator=generator)


def bent(matrix: Tensor, vector: Tensor) -> Callable[[Tensor], Tensor]:
    """The cost x M x / 2 - v x of actions x."""

    def cost(candidates: Tensor) -> Tensor:
        x = candidates.flatten(2)
        return torch.einsum("esi,eij,esj->es", x, matrix, x) / 2 - torch.einsum("esi,ei->es", x, vector)

    return cost


def test_lbfgs_reaches_a_quadratics_optimum_in_few_steps() -> None:
    matrix, vector = ill_conditioned(3, 12)
    optimum = torch.linalg.solve(matrix, vector)
    plan = unbounded(LBFGS(2, 40, memory=12), bent(matrix, vector), torch.zeros(3, 4, 3))
    torch.testing.assert_close(plan.actions.flatten(1), optimum, rtol=0, atol=2e-3)
    slow = unbounded(ProjectedGradient(2, 40), bent(matrix, vector), torch.zeros(3, 4, 3))
    least = -(vector * optimum).sum(dim=1) / 2
    assert (plan.cost - least < 0.05 * (slow.cost - least)).all()


@pytest.mark.parametrize("cls", [LBFGS, GradientPlanner])
def test_an_optimum_that_leans_on_some_bounds_is_found(cls: type, solve: Solve) -> None:
    matrix, vector = ill_conditioned(3, 12)
    vector = 15 * vector
    x = torch.zeros(3, 12)
    for _ in range(2000):  # coordinate descent, which is exact here
        for i in range(12):
            rest = vector[:, i] - (matrix[:, i] * x).sum(dim=1) + matrix[:, i, i] * x[:, i]
            x[:, i] = (rest / matrix[:, i, i]).clamp(-1, 1)
    held = (x.abs() == 1).float().mean()
    assert 0.2 < held < 0.9
    plan = solve(cls(4, 150), bent(matrix, vector), torch.zeros(3, 4, 3))
    least = bent(matrix, vector)(x.reshape(3, 1, 4, 3))[:, 0]
    assert (plan.cost - least < 2e-3 * least.abs()).all()


def test_a_point_that_rests_starts_anew_and_finds_a_deeper_place(solve: Solve) -> None:
    def two_hollows(candidates: Tensor) -> Tensor:
        x = candidates[..., 0, 0]
        return torch.minimum((x - 0.1).square(), 4 * (x + 0.85).square() - 1e-5)

    start = torch.full((1, 1, 1), 0.5)
    assert solve(LBFGS(1, 5), two_hollows, start).cost.item() == pytest.approx(0, abs=2e-6)
    assert solve(LBFGS(1, 200), two_hollows, start).cost.item() == pytest.approx(-1e-5, abs=2e-6)


def test_a_cost_without_a_gradient_is_refused(solve: Solve) -> None:
    with pytest.raises(UserError, match=r"no gradient.*such as CEM"):
        solve(LBFGS(), lambda candidates: candidates.detach().sum(dim=(2, 3)), torch.zeros(1, 2, 2))


def test_categorical_cem_finds_what_brute_force_finds(solve: Solve) -> None:
    generator = torch.Generator().manual_seed(3)
    every = torch.eye(3)[torch.cartesian_prod(*[torch.arange(3)] * 6)]
    alone = torch.randn(4, 6, 3, generator=generator)
    pairs = 0.2 * torch.randn(4, 18, 18, generator=generator)  # the worth of a choice depends on the others
    tried: list[Tensor] = []

    def cost(candidates: Tensor) -> Tensor:
        tried.append(candidates)
        x = candidates.flatten(2)
        return torch.einsum("esi,eij,esj->es", x, pairs, x) + (candidates * alone[:, None]).sum(dim=(2, 3))

    least = cost(every.expand(4, *every.shape)).min(dim=1).values
    tried.clear()
    plan = solve(CategoricalCEM(100, 15, 10), cost, torch.full((4, 6, 3), 1 / 3), low=0.0)
    torch.testing.assert_close(plan.cost, least)
    assert all(((x == 0) | (x == 1)).all() and (x.sum(dim=-1) == 1).all() for x in tried)
    assert len(torch.cat(tried, dim=1)[0].unique(dim=0)) < 3**6 / 2


def test_chances_are_mixed_with_equal_ones_as_the_spread_says() -> None:
    plan = torch.eye(4)[torch.tensor([[2, 0]])]
    for share in (0.0, 0.5, 1.0):
        seen: list[Tensor] = []

        def cost(candidates: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(candidates)
            return candidates.sum(dim=(2, 3))

        generator = torch.Generator().manual_seed(0)
        std = torch.full_like(plan, share)
        CategoricalCEM(8000, 5, 1).plan(cost, plan, std, torch.zeros(4), torch.ones(4), generator)
        assert torch.equal(seen[0][:, 0], plan)
        expected = (1 - share) * plan[0] + share / 4
        torch.testing.assert_close(seen[0][0, 1:].mean(dim=0), expected, rtol=0, atol=0.02)


def test_categorical_cem_goes_on_from_what_the_elites_chose(quadratic: Callable, solve: Solve) -> None:
    seen: list[Tensor] = []
    target = torch.eye(3)[torch.tensor([[0, 2, 1, 1]])]
    planner = CategoricalCEM(4000, 50, 2, momentum=0.5, smoothing=0.1)
    solve(planner, quadratic(target, seen), torch.full((1, 4, 3), 1 / 3), low=0.0)
    order = (seen[0][0] - target).square().sum(dim=(1, 2)).sort(stable=True).indices
    assert (seen[0][0, order[:50]] == target).all(), "4000 draws of 81 plans hold the best one 50 times or so"
    assert torch.equal(seen[1][:, 0], target), "the likeliest plan is tried first"
    expected = 0.5 * (0.9 * target[0] + 0.1 / 3) + 0.5 / 3
    torch.testing.assert_close(seen[1][0].mean(dim=0), expected, rtol=0, atol=0.03)


def test_categorical_cem_refuses_continuous_bounds(quadratic: Callable, solve: Solve) -> None:
    with pytest.raises(UserError, match="expected 0 and 1"):
        solve(CategoricalCEM(), quadratic(torch.zeros(1, 2, 2)), torch.zeros(1, 2, 2))
