"""Convolutions beside the patch embedding: what they are shown, and what they must not see."""

import pytest
import torch

from jepa_wm.encoders import ConvStem, ViT
from jepa_wm.errors import UserError
from jepa_wm.optim import adamw

PIXELS = torch.randint(0, 256, (2, 4, 3, 24, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
KEEP = torch.tensor([[17, 3, 6], [0, 23, 6]])


def convolved(patch: int = 8) -> ViT:
    torch.manual_seed(0)
    return ViT(patch, 2, 24, 1, 2, stem=ConvStem(4)).eval()


def by_hand(vit: ViT, pixels: torch.Tensor) -> torch.Tensor:
    """Tokens (B, T, H, W, D) of whole pictures, tubelet by tubelet."""
    colours = (pixels / 255 - vit.mean[:, None]) / vit.std[:, None]
    found = []
    for time in range(2):
        picture = colours[:, 2 * time : 2 * time + 2].transpose(1, 2).flatten(1, 2)
        linear = torch.nn.functional.conv2d(picture, vit.embed.weight.unflatten(1, (6, 8, 8)), vit.embed.bias, 8)
        found.append(linear.movedim(1, -1) + vit.convolutions.leave(vit.convolutions.layers(picture).movedim(1, -1)))
    return torch.stack(found, dim=1)


@torch.no_grad()
def test_tokens_are_the_pictures_convolved_and_their_patches_multiplied() -> None:
    vit = convolved()
    torch.testing.assert_close(vit.embedded(PIXELS), by_hand(vit, PIXELS).flatten(1, 3), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_is_not_kept_is_blank() -> None:
    vit = convolved()
    mean = (vit.mean.flatten() * 255)[:, None, None]
    blank = mean.expand(2, 4, 3, 24, 32).clone()
    for sample, row in enumerate(KEEP.tolist()):
        for token in row:
            time, height, width = token // 12, token % 12 // 4, token % 4
            at, down, along = (slice(n * i, n * i + n) for n, i in ((2, time), (8, height), (8, width)))
            blank[sample, at, :, down, along] = PIXELS[sample, at, :, down, along].float()
    expected = by_hand(vit, blank).flatten(1, 3).gather(1, KEEP[..., None].expand(-1, -1, 24))
    torch.testing.assert_close(vit.embedded(PIXELS, KEEP), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(vit.embedded(PIXELS)[0, KEEP[0]], expected[0], atol=1e-3)


@pytest.mark.parametrize(("patch", "channels"), [(2, [4]), (8, [4, 8, 16]), (16, [4, 8, 16, 32])])
def test_convolutions_halve_the_picture_down_to_a_pixel_a_patch(patch: int, channels: list[int]) -> None:
    vit = ViT(patch, 1, 24, 1, 2, stem=ConvStem(4))
    made = [layer.out_channels for layer in vit.convolutions.layers if isinstance(layer, torch.nn.Conv2d)]
    assert made == channels and vit(PIXELS[:, 0, :, :16]).shape == (2, 16 * 32 // patch**2, 24)


def test_convolutions_learn_as_slowly_as_the_embedding_beside_them() -> None:
    groups = adamw(convolved(), 1.0, 0.1, (0.9, 0.95), layer_decay=0.5).param_groups
    rates = {name: group["lr"] for group in groups for name in group["param_names"]}
    assert {rate for name, rate in rates.items() if "convolutions." in name} == {rates["embed.weight"]} == {0.25}


@pytest.mark.parametrize("patch", [1, 14])
def test_patches_that_are_no_power_of_two(patch: int) -> None:
    with pytest.raises(UserError, match=rf"ConvStem: got patches of {patch} pixels; expected 2, 4, 8 or another power"):
        ViT(patch, 1, 24, 1, 2, stem=ConvStem())


def test_images_with_an_embedding_of_their_own_have_no_convolutions() -> None:
    with pytest.raises(UserError, match=r"ViT\.stem: .* expected modalities: false"):
        ViT(8, 1, 24, 1, 2, modalities=True, stem=ConvStem())


def test_what_leaves_the_convolutions_is_as_large_as_its_width_says() -> None:
    torch.manual_seed(0)
    weight = ViT(8, 1, 96, 1, 2, stem=ConvStem(16)).convolutions.leave.weight  # type: ignore[union-attr]
    assert abs(weight.std().item() / (2 / (64 + 96)) ** 0.5 - 1) < 0.05
