"""Calibration against laws that are known, and through a training that fits it."""

import math

import pytest
import torch

from jepa_wm.dynamics.calibration import Calibration, spread_of
from jepa_wm.errors import UserError


def test_a_power_law_is_found_and_saved() -> None:
    spread = torch.rand(7, 11, generator=torch.Generator().manual_seed(0)) + 0.1
    made = Calibration()
    torch.testing.assert_close(made(spread), spread)
    made.fit(spread, 3.0 * spread.sqrt())
    assert (made.scale.item(), made.power.item()) == pytest.approx((3.0, 0.5), rel=1e-5)
    again = Calibration()
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again(spread), 3.0 * spread.sqrt())


def test_noisy_errors_have_the_mean_square_that_is_expected() -> None:
    torch.manual_seed(0)
    spread = torch.rand(5000).add(0.05)
    error = 2 * spread * torch.randn(5000).abs()
    made = Calibration()
    made.fit(spread, error)
    assert made.power.item() == pytest.approx(1.0, abs=0.1)
    assert made(spread).square().mean().item() == pytest.approx(error.square().mean().item(), rel=1e-5)
    # The median of |error| is .67 of its root mean square: the scale is that of the square.
    assert made.scale.item() == pytest.approx(2.0, rel=0.1)


def test_disagreement_that_tells_nothing_or_the_opposite_leaves_a_constant() -> None:
    spread = torch.linspace(0.1, 1.0, 50)
    made = Calibration()
    made.fit(spread, 1.1 - spread)
    assert made.power.item() == 0
    torch.testing.assert_close(made(spread), ((1.1 - spread).square().mean().sqrt()).expand(50))


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UserError, match="got 3 imagined latents"):
        Calibration().fit(torch.rand(3), torch.rand(3))
    with pytest.raises(UserError, match="members that differ here more than there"):
        Calibration().fit(torch.zeros(30), torch.rand(30))
    lost = torch.rand(30).index_fill_(0, torch.tensor(3), torch.nan)
    for spread, error in ((torch.rand(30), lost), (lost, torch.rand(30))):
        made = Calibration()
        with pytest.raises(UserError, match="got NaN or infinity in imagined latents"):
            made.fit(spread, error)
        assert (made.scale.item(), made.power.item()) == (1.0, 1.0)


def test_spread_is_the_unbiased_deviation_about_the_mean() -> None:
    members = torch.randn(3, 2, 4, 5, 6)
    apart = (members - members.mean(dim=0)).square().sum(dim=(0, -2, -1)) / (2 * 30)
    torch.testing.assert_close(spread_of(members), apart.sqrt())
    assert spread_of(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1, 1)).item() == pytest.approx(math.sqrt(2))
