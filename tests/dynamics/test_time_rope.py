"""Rotations over frames: against complex numbers, and what makes them rotations."""

import pytest
import torch

from jepa_wm.dynamics import TimeRope


@pytest.mark.parametrize("channels", [6, 7])
def test_frames_turn_pairs_of_channels_by_their_number(channels: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, 4, channels)  # samples, frames, queries keys and values, heads, channels
    turned = TimeRope(base=100.0).rotary((5, 1, 1), channels)(x)
    frequencies = 100.0 ** -(torch.arange(3) / 3)
    angles = (torch.arange(5)[:, None] * frequencies)[:, None, None]
    pairs = torch.complex(x[..., :3], x[..., 3:6]) * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(turned[..., :6], torch.cat([pairs.real, pairs.imag], dim=-1))
    torch.testing.assert_close(turned[..., 6:], x[..., 6:])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_only_the_distance_in_time_counts() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(8), torch.randn(8)
    rotation = TimeRope().rotary((6, 1, 1), 8)
    q, k = (rotation(x.expand(1, 6, 1, 1, 8))[0, :, 0, 0] for x in (query, key))
    products = q @ k.T
    for distance in range(-3, 4):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))
    assert products[0, 1] != pytest.approx(products[1, 0].item(), abs=1e-3)
