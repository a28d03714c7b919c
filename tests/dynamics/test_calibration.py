"""Calibration against laws that are known, and against a ridge regression by hand."""

import math

import pytest
import torch
from torch import Tensor

from jepa_wm.dynamics.calibration import PENALTIES, Calibration, signs_of
from jepa_wm.errors import UserError

D = 3


def signs(clips: int, steps: int = 5, seed: int = 0) -> Tensor:
    """Signs of clips whose latents are anywhere."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(clips, steps, 2, generator=generator) + 0.1
    return torch.cat([first, torch.randn(clips, steps, 2 * D, generator=generator)], dim=-1)


def law(found: Calibration) -> list[float]:
    return [found.scale.item(), *found.powers.tolist()]


def test_a_power_law_is_found_and_saved() -> None:
    given, made = signs(7, 11), Calibration(D)
    torch.testing.assert_close(made(given), given[..., 0])
    error = 3.0 * given[..., 0].sqrt() * given[..., 1] ** 2
    made.fit(given, error)
    assert law(made) == pytest.approx([3.0, 0.5, 2.0], rel=1e-3)
    again = Calibration(D)
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again(given), error, rtol=1e-3, atol=1e-3)


def test_noisy_errors_have_the_mean_square_that_is_expected_and_nothing_is_read_into_noise() -> None:
    torch.manual_seed(0)
    given = signs(1000)
    error = 2 * given[..., 0] * torch.randn(1000, 5).abs()
    made = Calibration(D)
    made.fit(given, error)
    assert made.powers.tolist() == pytest.approx([1.0, 0.0], abs=0.1)
    assert made(given).square().mean().item() == pytest.approx(error.square().mean().item(), rel=1e-5)
    # The median of |error| is .67 of its root mean square: the scale is that of the square.
    assert made.scale.item() == pytest.approx(2.0, rel=0.1)
    # A smooth function of other draws explains none of them.
    other = signs(500, seed=1)
    plain = made.scale * other[..., 0] ** made.powers[0] * other[..., 1] ** made.powers[1]
    assert (made(other) / plain).log().std() < 0.1


def test_what_latents_tell_is_learned_and_holds_for_other_clips() -> None:
    def error(given: Tensor) -> Tensor:
        return 0.5 * given[..., 0] * torch.exp(torch.sin(given[..., 2]) * given[..., -1])

    given, other = signs(800), signs(200, seed=1)
    made = Calibration(D)
    made.fit(given, error(given))
    left, explained = (made(other) / error(other)).log(), (error(other) / other[..., 0]).log()
    near = other[..., 2:].square().mean(dim=-1) < 0.8
    assert left[near].var() < 0.1 * explained[near].var()
    far = torch.cat([other[..., :2], 20 * other[..., 2:]], dim=-1)[:, :, None]
    strange = far[far[..., 2:].square().mean(dim=-1) > 100]
    # Where no clip was fitted on there is the law alone.
    plain = made.scale * strange[..., 0] ** made.powers[0] * strange[..., 1] ** made.powers[1]
    torch.testing.assert_close(made(strange), plain)
    made.rescale(other, 3 * error(other))
    torch.testing.assert_close(made(other).square().mean(), 9 * error(other).square().mean())


def test_the_waves_weights_are_those_of_the_ridge_that_errs_least_on_clips_left_out() -> None:
    torch.manual_seed(0)
    given, made = signs(30), Calibration(D, waves=16)
    error = given[..., 0] * torch.exp(given[..., 2].sin() + 0.5 * torch.randn(30, 5))
    made.fit(given, error)
    logs = torch.cat([given[..., :2].log(), given[..., 2:]], dim=-1).double()
    x = torch.cos((logs - logs.mean((0, 1))) / logs.flatten(0, 1).std(0) @ made.turns.double() + made.phases.double())
    x = x - x.mean((0, 1))
    rest = error.double().log() - logs[..., :2] @ made.powers.double()
    rest = rest - rest.mean()

    def ridge(clips: Tensor, penalty: float) -> Tensor:
        a, b = x[clips].flatten(0, 1), rest[clips].flatten()
        augmented = torch.cat([a, (penalty * 150) ** 0.5 * torch.eye(16)])
        return torch.linalg.lstsq(augmented, torch.cat([b, torch.zeros(16)])[:, None]).solution[:, 0]

    def missed(penalty: float) -> float:
        each = [(rest[i::5] - x[i::5] @ ridge(torch.arange(30) % 5 != i, penalty)).square().sum() for i in range(5)]
        return float(torch.stack(each).sum())

    best = min(PENALTIES, key=missed)
    assert best not in (PENALTIES[0], PENALTIES[-1])
    torch.testing.assert_close(
        made.weights, ridge(torch.ones(30, dtype=torch.bool), best).float(), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("seed", range(3))
def test_what_waves_say_is_about_their_mean_counts_in_full_up_to_the_median_and_fades_beyond(seed: int) -> None:
    given, made = signs(40, seed=seed).double(), Calibration(D, waves=16)
    made.fit(given, given[..., 0] * torch.exp(1 + given[..., 2].sin() + given[..., 5].cos()))
    logs = torch.cat([given[..., :2].log(), given[..., 2:]], dim=-1)
    center, width = logs.mean((0, 1)), logs.flatten(0, 1).std(0)
    strange = ((logs - center) / width)[..., 2:].square().mean(-1)

    def said(logs: Tensor) -> Tensor:
        return torch.cos((logs - center) / width @ made.turns.double() + made.phases.double()) @ made.weights.double()

    other = torch.cat([given, given * torch.tensor([1, 1] + 2 * D * [1.5])])
    logs = torch.cat([other[..., :2].log(), other[..., 2:]], dim=-1)
    away = ((logs - center) / width)[..., 2:].square().mean(-1) / strange.flatten().sort().values[99]
    assert 0.2 < (away <= 1).double().mean() < 0.5 and away.max() > 3
    trust = torch.where(away <= 1, 1, torch.exp(1 - away))
    told = said(logs) - said(logs[:40]).mean()
    assert told.std() > 0.2 and said(logs[:40]).mean().abs() > 0.1
    law = made.scale * other[..., 0] ** made.powers[0] * other[..., 1] ** made.powers[1]
    torch.testing.assert_close(made(other), law * torch.exp(trust * told), rtol=1e-4, atol=0)


def test_signs_that_tell_nothing_or_the_opposite_leave_a_constant() -> None:
    spread = torch.linspace(0.1, 1.0, 50)[:, None]
    given = torch.cat([spread, torch.ones(50, 1 + 2 * D)], dim=-1)[:, None]
    made = Calibration(D, waves=1)
    made.turns.zero_()  # one wave that is the same everywhere
    made.fit(given, 1.1 - spread)
    assert made.powers.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    torch.testing.assert_close(made(given), (1.1 - spread).square().mean().sqrt().expand(50, 1))


def test_half_precision_around_it_changes_nothing() -> None:
    given, made = signs(40), Calibration(D)
    made.fit(given, given[..., 0] * given[..., 2].exp())
    with torch.autocast("cpu", torch.bfloat16):
        found = made(given)
    torch.testing.assert_close(found, made(given), rtol=0, atol=0)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UserError, match="got 3 imagined latents"):
        Calibration(D).fit(signs(3, 1), torch.rand(3, 1))
    made = Calibration(D)
    made.fit(signs(6), 2 * signs(6)[..., 0])
    before = made.scale.item()
    with pytest.raises(UserError, match="NaN or infinity"):
        made.rescale(signs(6), torch.full((6, 5), torch.nan))
    assert made.scale.item() == before
    with pytest.raises(UserError, match="members that differ here more than there"):
        Calibration(D).fit(torch.zeros(6, 5, 2 + 2 * D), torch.rand(6, 5))
    for wrong in (torch.nan, torch.inf):
        with pytest.raises(UserError, match="NaN or infinity"):
            Calibration(D).fit(signs(6), torch.rand(6, 5).index_fill(0, torch.tensor([3]), wrong))
        with pytest.raises(UserError, match="NaN or infinity"):
            Calibration(D).fit(signs(6).index_fill(0, torch.tensor([3]), wrong), torch.rand(6, 5))


def test_signs_are_the_unbiased_deviation_about_the_mean_the_way_of_the_mean_and_where_it_leads() -> None:
    members, seen = torch.randn(3, 2, 4, 5, 6), torch.randn(2, 5, 6)
    mean = members.mean(dim=0)
    apart = (members - mean).square().sum(dim=(0, -2, -1)) / (2 * 30)
    moved = (mean - seen[:, None]).square().sum(dim=(-2, -1)) / 30
    found = signs_of(members, seen)
    torch.testing.assert_close(found[..., :2], torch.stack([apart, moved], dim=-1).sqrt())
    torch.testing.assert_close(found[..., 2:8], seen.mean(dim=1)[:, None].expand(2, 4, 6))
    torch.testing.assert_close(found[..., 8:], mean.mean(dim=-2))
    pair = signs_of(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1, 1), torch.full((1, 1, 1), 4.0))
    assert pair.flatten().tolist() == pytest.approx([math.sqrt(2), 3.0, 4.0, 1.0])
