"""Distances to a goal, by hand."""

import math

import pytest
import torch

from jepa_wm.errors import UserError
from jepa_wm.planning.costs import Distance


@pytest.mark.parametrize(("final", "expected"), [(1.0, 9.0), (0.0, 14 / 3), (0.5, (9 + 14 / 3) / 2)])
def test_the_last_step_and_the_mean_are_weighed(final: float, expected: float) -> None:
    assert Distance(final=final).over_time(torch.tensor([[[1.0, 4.0, 9.0]]])).item() == pytest.approx(expected)


def test_a_discount_weighs_early_steps_more() -> None:
    costs = Distance(final=0.0, discount=0.5).over_time(torch.tensor([[[1.0, 4.0, 9.0]]]))
    assert costs.item() == pytest.approx((1 + 4 / 2 + 9 / 4) / (1 + 1 / 2 + 1 / 4))


def test_a_scale_makes_far_distances_alike_and_near_ones_count() -> None:
    costs = Distance(final=0.0, scale=0.5).over_time(torch.tensor([[[0.0, 1.0, 4.0]]]))
    assert costs.item() == pytest.approx((math.log(3) + math.log(9)) / 3)
    # A way round that is farther off at first, and standing still: by distances the latter, on a scale the former.
    round_about, still = torch.tensor([[[2.0, 2.0, 0.0]]]), torch.tensor([[[1.0, 1.0, 1.0]]])
    for scale, better in ((None, still), (0.01, round_about)):
        costs = [Distance(final=0.0, scale=scale).over_time(way).item() for way in (round_about, still)]
        assert min(costs) == Distance(final=0.0, scale=scale).over_time(better).item()
        assert costs[0] != costs[1]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("l2", [(4 + 16) / 2, (1 + 9) / 2]), ("l1", [(2 + 4) / 2, (1 + 3) / 2]), ("cosine", [1 - 0.28, 1 - 0.96])],
)
def test_metrics_are_means_over_a_frames_numbers(metric: str, expected: list[float]) -> None:
    goals = torch.tensor([[[3.0], [4.0]], [[4.0], [3.0]]])
    latents = torch.tensor([[5.0, 0.0], [3.0, 0.0]]).reshape(2, 1, 1, 2, 1) if metric != "cosine" else None
    if latents is None:
        latents = torch.tensor([[4.0, -3.0], [3.0, 4.0]]).reshape(2, 1, 1, 2, 1)
        expected = [1.0, 1 - 24 / 25]
    assert Distance(metric).between(latents, goals).flatten().tolist() == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "l3"},
        {"final": 1.1},
        {"final": float("nan")},
        {"final": "1"},
        {"discount": 0.0},
        {"discount": float("nan")},
        {"discount": float("inf")},
        {"discount": "1"},
        {"scale": 0.0},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"scale": "1"},
    ],
)
def test_what_makes_no_distance_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match="distance: got"):
        Distance(**wrong)
