"""Boxes, held against dense sampling."""

import pytest
import torch
from torch import Tensor

from jepa_wm.goals.box import Box

SAMPLES = 4001


def sampled(box: Box, starts: Tensor, ends: Tensor) -> Tensor:
    """The greatest depth on each straight way, by looking at many of its points."""
    shares = torch.linspace(0, 1, SAMPLES, dtype=torch.float64)[:, None, None]
    return box.depth(starts + shares * (ends - starts)).amax(dim=0)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_way_is_in_the_box_where_a_point_of_it_is(width: int) -> None:
    random = torch.Generator().manual_seed(width)
    draw = lambda: torch.rand(2000, width, generator=random, dtype=torch.float64) * 4 - 2  # noqa: E731
    corners = torch.stack([draw(), draw()])
    box = Box(corners.amin(dim=0), corners.amax(dim=0))
    starts, ends = draw(), draw()
    starts[:200, 0] = ends[:200, 0]
    starts[200:300] = ends[200:300]
    crossed, deepest = box.crossed(starts, ends), sampled(box, starts, ends)
    clear = deepest.abs() > 2e-3
    assert clear.float().mean() > 0.95 and (deepest[clear] > 0).float().mean() > 0.05
    assert torch.equal(crossed[clear] > 0, deepest[clear] > 0)
    # The depth along a way is concave, and nowhere below 0 on the part inside: at its middle, at least half the most.
    inside = clear & (deepest > 0)
    assert (crossed[inside] <= deepest[inside] + 2e-3).all() and (crossed[inside] >= deepest[inside] / 2 - 2e-3).all()


def test_ways_by_hand() -> None:
    box = Box(torch.tensor([0.0, 0.0]), torch.tensor([2.0, 1.0]))
    ways = [
        ([-1.0, 0.5], [3.0, 0.5], 0.5),  # across its middle
        ([-1.0, 0.1], [3.0, 0.1], 0.1),  # across, near a face
        ([-1.0, 2.0], [3.0, 2.0], 0.0),  # beside it
        ([-1.0, 0.0], [3.0, 0.0], 0.0),  # along a face
        ([-1.0, 0.5], [-0.1, 0.5], 0.0),  # not as far as the box
        ([0.3, 0.5], [0.3, 0.5], 0.3),  # standing within
        ([-0.5, 0.5], [0.5, 0.5], 0.25),  # half in
        ([-1.0, 1.9], [1.0, 1.9], 0.0),  # past a corner
    ]
    starts, ends, depths = (torch.tensor(column) for column in zip(*ways, strict=True))
    torch.testing.assert_close(box.crossed(starts, ends), depths)


def test_the_depth_of_a_point_is_its_distance_from_the_nearest_face() -> None:
    box = Box(torch.tensor([0.0, 0.0]), torch.tensor([2.0, 1.0]))
    points = torch.tensor([[1.0, 0.4], [1.9, 0.5], [2.5, 0.5], [-3.0, 4.0]])
    torch.testing.assert_close(box.depth(points), torch.tensor([0.4, 0.1, -0.5, -3.0]))
