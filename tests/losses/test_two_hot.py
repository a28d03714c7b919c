"""Two-hot: shares of the two bins next to a number, and back."""

import math

import pytest
import torch

from jepa_wm.errors import UserError
from jepa_wm.losses import TwoHot, symexp, symlog


def test_symlog_by_hand_and_back() -> None:
    x = torch.tensor([-1e6, -1.0, 0.0, 1e-6, math.e - 1, 999.0], dtype=torch.float64)
    expected = [-math.log(1e6 + 1), -math.log(2), 0.0, math.log1p(1e-6), 1.0, math.log(1000)]
    torch.testing.assert_close(symlog(x), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(symexp(symlog(x)), x)


def test_a_number_between_two_bins_is_shared_out() -> None:
    # Bins at -2, -1, 0, 1, 2 of the symlog: symexp(.25) lies a quarter of the way from the third to the fourth.
    shares = TwoHot(5, -2.0, 2.0).encode(symexp(torch.tensor([0.25, -2.0, 1.0, -1.5])))
    expected = [[0, 0, 0.75, 0.25, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0.5, 0.5, 0, 0, 0]]
    torch.testing.assert_close(shares, torch.tensor(expected))


def test_what_was_encoded_is_read_off_again_and_what_is_out_of_reach_is_the_last_bin() -> None:
    two_hot, values = TwoHot(), torch.tensor([-20000.0, -3.7, -0.02, 0.0, 0.5, 1.0, 77.0, 22025.0])
    shares = two_hot.encode(values)
    assert ((shares > 0).sum(dim=-1) <= 2).all()
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(8), rtol=0, atol=2e-5)
    torch.testing.assert_close(two_hot.decode(shares.log()), values, rtol=1e-3, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(two_hot.decode(shares.log()), values, rtol=1e-3, atol=1e-5)
    assert two_hot.encode(torch.tensor(1e9))[-1] == 1.0 and two_hot.encode(torch.tensor(-1e9))[0] == 1.0


def test_the_loss_is_the_cross_entropy_and_least_at_the_shares() -> None:
    two_hot, values = TwoHot(5, -2.0, 2.0), symexp(torch.tensor([0.25, -1.5]))
    logits = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    log_odds = logits.log_softmax(dim=-1)
    by_hand = -(0.75 * log_odds[0, 2] + 0.25 * log_odds[0, 3] + 0.5 * log_odds[1, 0] + 0.5 * log_odds[1, 1]) / 2
    torch.testing.assert_close(two_hot(logits, values), by_hand)
    best = (two_hot.encode(values) + 1e-9).log().requires_grad_()
    two_hot(best, values).backward()
    assert best.grad is not None and best.grad.abs().max() < 1e-6


@pytest.mark.parametrize("wrong", [{"bins": 1}, {"low": 3.0, "high": 3.0}])
def test_bins_must_be_in_order(wrong: dict) -> None:
    with pytest.raises(UserError, match="TwoHot"):
        TwoHot(**wrong)
