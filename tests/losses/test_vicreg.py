"""Variance and covariance of known matrices, their slopes, and two ranks against one."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from jepa_wm import distributed
from jepa_wm.errors import UserError
from jepa_wm.losses import covariance_penalty, variance_hinge

LOSSES = (variance_hinge, covariance_penalty)
CASES = [(loss, over_ranks) for loss in LOSSES for over_ranks in (True, False)]
every_loss = pytest.mark.parametrize("loss", LOSSES)


def drawn() -> Tensor:
    """Sets (3, 8, 4), the dimensions of some narrower than 1, some wider, and none by itself."""
    x = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x * torch.tensor([0.2, 0.7, 1.0, 3.0]) + x[..., :1]


def test_the_hinge_of_a_known_matrix() -> None:
    # Standard deviations (n - 1): 1/2, 0, 2; only what is below the margin counts.
    x = torch.tensor([[-0.5, 3.0, 2.0], [0.0, 3.0, 0.0], [0.5, 3.0, -2.0]], dtype=torch.float64)
    assert variance_hinge(x[None], eps=0.0).item() == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert variance_hinge(x[None], margin=3.0, eps=0.0).item() == pytest.approx((2.5 + 3.0 + 1.0) / 3)
    assert variance_hinge(x[None], eps=0.04)[()].item() == pytest.approx((1 - 0.29**0.5 + 0.8) / 3)


def test_the_covariance_of_a_hand_example() -> None:
    # Covariances (n - 1): 1 of the first two, -2 of first and third, -2 of second and third; 6 ordered pairs.
    x = torch.tensor([[1.0, 6.0, -2.0], [2.0, 7.0, -4.0], [3.0, 8.0, -6.0]])
    assert covariance_penalty(x[None]).item() == pytest.approx(2 * (1 + 4 + 4) / 6)


def test_they_are_those_of_numpy_set_by_set() -> None:
    x = drawn()
    covariance = [np.cov(one.numpy().T) for one in x]
    hinges = [np.maximum(1 - np.sqrt(np.diag(one) + 1e-4), 0).mean() for one in covariance]
    penalties = [(np.square(one).sum() - np.square(np.diag(one)).sum()) / 12 for one in covariance]
    assert variance_hinge(x).item() == pytest.approx(np.mean(hinges))
    assert covariance_penalty(x).item() == pytest.approx(np.mean(penalties))


@every_loss
def test_the_gradient_is_that_of_finite_differences(loss: Callable[..., Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, (drawn().requires_grad_(),))


@every_loss
def test_where_the_samples_are_is_nothing_to_it(loss: Callable[..., Tensor]) -> None:
    torch.testing.assert_close(loss(drawn() + 100.0), loss(drawn()))


@every_loss
def test_one_sample_has_no_spread(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(UserError, match="sets of 1 samples"):
        loss(torch.zeros(2, 1, 3))


def sloped(loss: Callable[..., Tensor], x: Tensor, over_ranks: bool = True) -> tuple[float, Tensor]:
    """The value at x, and its gradient with respect to the dimensions' units, averaged over the ranks."""
    scale = torch.ones(4, dtype=torch.float64, requires_grad=True)
    value = loss(x * scale, over_ranks)
    value.backward()
    assert scale.grad is not None
    return value.item(), distributed.all_reduce_mean(scale.grad)


def on_a_rank(rank: int) -> list[tuple[float, Tensor]]:
    # What is spread over the ranks are the samples; otherwise it is the sets.
    return [sloped(loss, drawn()[:2].chunk(2, dim=int(over_ranks))[rank], over_ranks) for loss, over_ranks in CASES]


def test_two_ranks_are_one_batch(on_two_ranks: Callable) -> None:
    for (loss, over_ranks), (one, gradient), (other, _) in zip(CASES, *on_two_ranks(on_a_rank), strict=True):
        value, truth = sloped(loss, drawn()[:2])
        torch.testing.assert_close(gradient, truth)
        assert (one + other) / 2 == pytest.approx(value)
        assert not over_ranks or one == other
