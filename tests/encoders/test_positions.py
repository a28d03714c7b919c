"""Positions: their closed forms, and what attention may know of them."""

import math

import pytest
import torch

from jepa_wm.encoders import ViT
from jepa_wm.encoders.positions import (
    CentredRope,
    Grid,
    Learned,
    Positions,
    Rope,
    Rotation,
    SinCos,
    coordinates,
    resample,
)


def test_three_axes_of_sines_and_cosines() -> None:
    table = SinCos(3).additive((2, 3, 4), 26).reshape(2, 3, 4, 26)
    for axis, index in enumerate([(1, 0, 0), (0, 2, 0), (0, 0, 3)]):
        # Each axis has ceil(26 / 6) * 2 = 10 channels; the last is cut where the width ends.
        part = table[index][10 * axis : 10 * axis + 10]
        expected = [f(max(index) * 10000 ** -(i / 5)) for f in (math.sin, math.cos) for i in range(5)]
        torch.testing.assert_close(part, torch.tensor(expected)[: len(part)])


def test_two_axes_are_the_column_and_then_the_row_the_same_in_all_frames() -> None:
    table = SinCos(2).additive((2, 3, 4), 8).reshape(2, 3, 4, 8)
    assert torch.equal(table[0], table[1])
    column, row = (torch.tensor([math.sin(x), math.sin(x / 100), math.cos(x), math.cos(x / 100)]) for x in (3, 2))
    torch.testing.assert_close(table[0, 2, 3], torch.cat([column, row]))


def scores(rotation: Rotation) -> torch.Tensor:
    """Products of one query with one key at all pairs of places (N, N)."""
    torch.manual_seed(0)
    q, k = torch.randn(2, rotation.cos.shape[-1], dtype=torch.float64)
    exact = Rotation(rotation.cos.double(), rotation.sin.double(), rotation.halves)
    q, k = (exact(x.expand(1, len(rotation.cos), 1, 1, -1))[0, :, 0, 0] for x in (q, k))
    return q @ k.T


def shift(grid: Grid, by: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens that have a neighbour `by` further, and that neighbour."""
    place = coordinates(grid).long()
    inside = ((place + torch.tensor(by)) < torch.tensor(grid)).all(dim=1)
    strides = torch.tensor([grid[1] * grid[2], grid[2], 1])
    start = inside.nonzero()[:, 0]
    return start, start + int((torch.tensor(by) * strides).sum())


@pytest.mark.parametrize("by", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 2, 1)])
@pytest.mark.parametrize("kind", [Rope(), Rope(pretrained=9), CentredRope()], ids=["rope", "squeezed", "centred"])
def test_attention_feels_how_far_tokens_are_apart_and_not_where_they_are(kind: Rope, by: tuple[int, int, int]) -> None:
    grid = (3, 4, 4)
    found = scores(kind.rotary(grid, 32))
    here, there = shift(grid, by)
    torch.testing.assert_close(found[there][:, there], found[here][:, here], rtol=1e-5, atol=1e-5)
    if not isinstance(kind, CentredRope) or by != (1, 0, 0):
        assert not torch.allclose(found[here, here], found[here, there], rtol=1e-3)


def test_the_tiled_frequencies_of_v_jepa_2_do_not_have_that_property() -> None:
    found = scores(Rope(tiled=True).rotary((1, 1, 8), 12))
    assert not torch.allclose(found[1:, 1:], found[:-1, :-1], atol=1e-3)


def test_rope_turns_each_pair_of_channels_by_its_angle() -> None:
    rotation = Rope().rotary((2, 3, 4), 14)
    x = torch.randn(1, 24, 1, 1, 14)
    turned, token = rotation(x)[0, :, 0, 0], 23
    for axis, place in enumerate((1, 2, 3)):
        for pair in range(2):
            angle, at = place * 10000 ** -(pair / 2), 4 * axis + 2 * pair
            a, b = x[0, token, 0, 0, at : at + 2]
            expected = torch.stack(
                [a * math.cos(angle) - b * math.sin(angle), b * math.cos(angle) + a * math.sin(angle)]
            )
            torch.testing.assert_close(turned[token, at : at + 2], expected)
    torch.testing.assert_close(turned[:, 12:], x[0, :, 0, 0, 12:])


def test_the_centred_grid_reaches_from_minus_one_to_one_whatever_its_size() -> None:
    small, large = (CentredRope().rotary((1, size, size), 8) for size in (2, 6))
    # The middle of the first of two cells is that of the second of six.
    torch.testing.assert_close(small.cos[0], large.cos[7])
    angle = 2 * math.pi * -0.5
    torch.testing.assert_close(small.cos[0, :2], torch.tensor([math.cos(angle), math.cos(angle * 0.1)]))


@pytest.mark.parametrize("kind", [SinCos(), Rope(), CentredRope()])
def test_an_encoder_first_used_in_inference_mode_can_be_trained(kind: Positions) -> None:
    vit = ViT(8, 1, 24, 1, 2, positions=kind)
    pixels = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with torch.inference_mode():
        vit(pixels)
    vit(pixels).sum().backward()


def test_a_model_that_was_exported_first_still_works_and_is_what_was_exported() -> None:
    torch.manual_seed(0)
    vit = ViT(8, 1, 24, 1, 2, positions=Rope()).eval()
    pixels = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    exported = torch.export.export(vit, (pixels,)).module()
    found = vit(pixels)
    assert type(found) is torch.Tensor  # none without numbers, of which the export is made
    torch.testing.assert_close(exported(pixels), found)


def test_a_learned_table_keeps_a_slope_when_it_is_resampled() -> None:
    grid, larger = (2, 8, 8), (3, 16, 16)
    place = coordinates(grid).float()
    found = resample(place, grid, larger).reshape(*larger, 3)
    inner = found[:, 4:-4, 4:-4]
    expected = (coordinates(larger).float().reshape(*larger, 3)[:, 4:-4, 4:-4, 1:] + 0.5) / 2 - 0.5
    torch.testing.assert_close(inner[..., 1:], expected, rtol=0.02, atol=0.05)
    torch.testing.assert_close(inner[:, 0, 0, 0], torch.tensor([0.0, 0.5, 1.0]), rtol=0, atol=0.05)
    assert torch.equal(Learned(grid).table(place, grid), place)
