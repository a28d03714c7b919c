"""SIGReg against the definition, closed forms, and one process against two."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jepa_wm.errors import UserError
from jepa_wm.losses import SIGReg


def by_definition(x: np.ndarray, directions: np.ndarray) -> float:
    """N times the weighted squared distance of characteristic functions, on the symmetric grid [-3, 3]."""
    t = np.linspace(-3, 3, 33)
    gauss = np.exp(-(t**2) / 2)
    total = 0.0
    for direction in directions.T:
        empirical = np.exp(1j * np.outer(t, x @ direction)).mean(axis=1)
        total += np.trapezoid(np.abs(empirical - gauss) ** 2 * gauss, t)
    return len(x) * total / directions.shape[1]


def test_it_is_the_epps_pulley_statistic_along_its_directions() -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)) * 1.7 + 0.4
    draw = torch.randn(6, 32, generator=torch.Generator().manual_seed(9))
    expected = by_definition(x.double().numpy(), F.normalize(draw, dim=0).double().numpy())
    assert SIGReg(slices=32)(x[None], step=9).item() == pytest.approx(expected, rel=1e-5)


def test_views_are_averaged_not_pooled() -> None:
    x = torch.randn(2, 50, 4)
    x[1] += 2.0
    each = [SIGReg(32)(x[i : i + 1], 3) for i in range(2)]
    torch.testing.assert_close(SIGReg(32)(x, 3), torch.stack(each).mean())


def test_a_collapsed_batch_costs_what_the_closed_form_says() -> None:
    loss = SIGReg()
    gap = (1 - torch.exp(-loss.t.square() / 2)).square()
    torch.testing.assert_close(loss(torch.zeros(1, 30, 8), 0), 30 * gap @ loss.weights)


def test_a_gaussian_costs_least() -> None:
    x = torch.randn(1, 2000, 8, generator=torch.Generator().manual_seed(0))
    gaussian = SIGReg()(x, 0)
    flat = (torch.rand(1, 2000, 8, generator=torch.Generator().manual_seed(0)) - 0.5) * 12**0.5
    others = [SIGReg()(other, 0) for other in (0.5 * x, 2 * x, x + 1, x[..., :1].expand_as(x))]
    assert all(other > 5 * gaussian for other in others)
    assert SIGReg()(flat, 0) > gaussian


@pytest.mark.parametrize("sizes", [{"points": 1}, {"slices": 0}])
def test_a_statistic_of_no_directions_or_of_one_point_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"SIGReg: got slices \d+ and points \d+; expected 1 and 2 at least"):
        SIGReg(**sizes)


def test_directions_belong_to_the_step() -> None:
    x = torch.randn(1, 20, 8)
    assert torch.equal(SIGReg(8)(x, 5), SIGReg(8)(x, 5))
    assert not torch.equal(SIGReg(8)(x, 5), SIGReg(8)(x, 6))


def test_the_gradient_is_that_of_finite_differences() -> None:
    x = torch.randn(1, 12, 3, generator=torch.Generator().manual_seed(2)) + 0.5
    x.requires_grad_()
    loss = SIGReg(slices=8)
    loss(x, 1).backward()
    for place in ((0, 0, 0), (0, 5, 1), (0, 11, 2)):
        up, down = x.detach().clone(), x.detach().clone()
        up[place] += 1e-2
        down[place] -= 1e-2
        slope = (loss(up, 1) - loss(down, 1)).item() / 2e-2
        assert x.grad is not None and x.grad[place].item() == pytest.approx(slope, rel=1e-2, abs=1e-3)
