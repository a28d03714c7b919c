"""Calibration against laws that are known."""

import math

import pytest
import torch

from jepa_wm.dynamics.calibration import Calibration, signs_of
from jepa_wm.errors import UserError


def test_a_power_law_is_found_and_saved() -> None:
    signs = torch.rand(7, 11, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    made = Calibration()
    torch.testing.assert_close(made(signs), signs[..., 0])
    error = 3.0 * signs[..., 0].sqrt() * signs[..., 1] ** 2
    made.fit(signs, error)
    assert [made.scale.item(), *made.powers.tolist()] == pytest.approx([3.0, 0.5, 2.0], rel=1e-3)
    again = Calibration()
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again(signs), error, rtol=1e-3, atol=1e-3)


def test_noisy_errors_have_the_mean_square_that_is_expected() -> None:
    torch.manual_seed(0)
    signs = torch.rand(5000, 2).add(0.05)
    error = 2 * signs[:, 0] * torch.randn(5000).abs()
    made = Calibration()
    made.fit(signs, error)
    assert made.powers.tolist() == pytest.approx([1.0, 0.0], abs=0.1)
    assert made(signs).square().mean().item() == pytest.approx(error.square().mean().item(), rel=1e-5)
    # The median of |error| is .67 of its root mean square: the scale is that of the square.
    assert made.scale.item() == pytest.approx(2.0, rel=0.1)


def test_signs_that_tell_nothing_or_the_opposite_leave_a_constant() -> None:
    spread = torch.linspace(0.1, 1.0, 50)
    made = Calibration()
    made.fit(torch.stack([spread, torch.ones(50)], dim=-1), 1.1 - spread)
    assert made.powers.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    flat = (1.1 - spread).square().mean().sqrt()
    torch.testing.assert_close(made(torch.stack([spread, torch.ones(50)], dim=-1)), flat.expand(50))


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UserError, match="got 3 imagined latents"):
        Calibration().fit(torch.rand(3, 2), torch.rand(3))
    with pytest.raises(UserError, match="members that differ here more than there"):
        Calibration().fit(torch.zeros(30, 2), torch.rand(30))
    for wrong in (torch.nan, torch.inf):
        with pytest.raises(UserError, match="NaN or infinity"):
            Calibration().fit(torch.rand(30, 2), torch.rand(30).index_fill(0, torch.tensor([3]), wrong))
        with pytest.raises(UserError, match="NaN or infinity"):
            Calibration().fit(torch.rand(30, 2).index_fill(0, torch.tensor([3]), wrong), torch.rand(30))


def test_signs_are_the_unbiased_deviation_about_the_mean_and_the_way_of_the_mean() -> None:
    members, seen = torch.randn(3, 2, 4, 5, 6), torch.randn(2, 5, 6)
    apart = (members - members.mean(dim=0)).square().sum(dim=(0, -2, -1)) / (2 * 30)
    moved = (members.mean(dim=0) - seen[:, None]).square().sum(dim=(-2, -1)) / 30
    torch.testing.assert_close(signs_of(members, seen), torch.stack([apart, moved], dim=-1).sqrt())
    pair = signs_of(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1, 1), torch.full((1, 1, 1), 4.0))
    assert pair.flatten().tolist() == pytest.approx([math.sqrt(2), 3.0])
