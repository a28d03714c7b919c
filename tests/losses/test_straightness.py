"""Straight lines, right angles, turns and standstills; and the cosine error of the same."""

import math

import pytest
import torch

from jepa_wm.errors import UserError
from jepa_wm.losses import cosine_error, curvature


def path(*steps: tuple[float, float]) -> torch.Tensor:
    return torch.cat([torch.zeros(1, 2), torch.tensor(steps).cumsum(dim=0)]).double() + 5.0


@pytest.mark.parametrize(
    ("steps", "bend"),
    [
        (((1, 2), (2, 4), (0.1, 0.2)), 0.0),
        (((1, 0), (0, 3), (-2, 0)), 1.0),
        (((1, 0), (-1, 0)), 2.0),
        (((1, 0), (1, 1)), 1 - math.sqrt(0.5)),
        (((1, 0), (1, 1), (2, 2)), (1 - math.sqrt(0.5)) / 2),
        (((1, 0), (0, 0), (0, 1)), 0.0),
        (((0, 0), (0, 0)), 0.0),
        (((1, 0), (0, 1), (0, 0)), 0.5),
    ],
)
def test_the_bend_of_a_path(steps: tuple, bend: float) -> None:
    assert curvature(path(*steps)).item() == pytest.approx(bend, abs=1e-9)


def test_paths_are_averaged_and_neither_length_nor_place_counts() -> None:
    straight, bent = path((1, 2), (2, 4)), path((1, 0), (0, 3))
    assert curvature(torch.stack([straight, bent])).item() == pytest.approx(0.5)
    assert curvature(7.0 * bent - 3.0).item() == pytest.approx(1.0)


def test_the_gradient_is_that_of_finite_differences_and_finite_at_a_standstill() -> None:
    walk = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).double().cumsum(dim=1).requires_grad_()
    assert torch.autograd.gradcheck(curvature, (walk,))
    stopping = path((1, 0), (0, 0), (0, 1), (1, 1)).requires_grad_()
    curvature(stopping).backward()
    assert stopping.grad is not None and stopping.grad.abs().max() < 1.0


def test_two_points_have_no_bend() -> None:
    with pytest.raises(UserError, match="paths of 2 points"):
        curvature(path((1, 0)))


def test_the_cosine_error_of_directions() -> None:
    here = torch.tensor([[1.0, 0.0], [1.0, 0.0], [3.0, 0.0], [1.0, 1.0]])
    there = torch.tensor([[5.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 0.0]])
    each = [cosine_error(a, b).item() for a, b in zip(here, there, strict=True)]
    assert each == pytest.approx([0.0, 1.0, 2.0, 1 - math.sqrt(0.5)])
    assert cosine_error(here, there).item() == pytest.approx(sum(each) / 4)
    assert cosine_error(here.bfloat16(), there).item() == pytest.approx(sum(each) / 4)
