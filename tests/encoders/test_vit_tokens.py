"""The vision transformer: what it sees, what it drops, and how it is saved."""

import json
import math
from pathlib import Path

import pytest
import torch

from jepa_wm.checkpoint import load_module, save_modules
from jepa_wm.encoders import ViT, encode_frames, load_encoder
from jepa_wm.encoders.positions import sincos_3d
from jepa_wm.errors import UserError


@pytest.fixture
def vit() -> ViT:
    torch.manual_seed(0)
    return ViT(patch=8, dim=24, depth=2, heads=2, latent_dim=6, pool_grid=2).eval()


def clip(frames: int = 3, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (2, frames, 3, side, side), dtype=torch.uint8)


@torch.no_grad()
def test_keeping_every_token_is_the_full_forward_and_order_follows_keep(vit: ViT) -> None:
    pixels = clip()
    full = vit(pixels)
    order = torch.stack([torch.randperm(48), torch.randperm(48)])
    expected = full.gather(1, order[..., None].expand(-1, -1, 24))
    torch.testing.assert_close(vit(pixels, order), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_dropped_patches_are_never_seen(vit: ViT) -> None:
    pixels = clip()
    keep = torch.tensor([[0, 5, 17, 40]]).expand(2, -1)
    before = vit(pixels, keep)
    other = 255 - pixels
    # Frame 0, row 0, column 0 is token 0; 5 is row 1, column 1; 17 is frame 1; 40 is frame 2, row 2, column 0.
    for frame, row, column in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (2, 2, 0)):
        cell = (slice(None), frame, slice(None), slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
        other[cell] = pixels[cell]
    torch.testing.assert_close(vit(other, keep), before)
    assert not torch.allclose(vit(other), vit(pixels))


@torch.no_grad()
def test_an_image_is_a_clip_of_one_frame(vit: ViT) -> None:
    pixels = clip(1)
    torch.testing.assert_close(vit(pixels[:, 0]), vit(pixels))
    tubes = ViT(patch=8, tubelet=2, dim=24, depth=1, heads=2)
    torch.testing.assert_close(tubes(pixels[:, 0]), tubes(pixels.expand(-1, 2, -1, -1, -1)))


@torch.no_grad()
def test_frames_are_encoded_one_by_one(vit: ViT) -> None:
    pixels = clip()
    latents = encode_frames(vit, pixels)
    assert latents.shape == (2, 3, 1, 6)
    torch.testing.assert_close(latents[1, 2, 0], vit.pool(vit(pixels[1:2, 2]))[0], rtol=1e-4, atol=1e-5)


def test_positions_are_sines_and_cosines_of_time_height_and_width() -> None:
    table = sincos_3d((2, 3, 4), 26).reshape(2, 3, 4, 26)
    for axis, index in enumerate([(1, 0, 0), (0, 2, 0), (0, 0, 3)]):
        part = table[index][8 * axis : 8 * axis + 8]
        value = max(index)
        expected = [f(value * 10000 ** -(i / 4)) for f in (math.sin, math.cos) for i in range(4)]
        torch.testing.assert_close(part, torch.tensor(expected))
    assert (table[..., 24:] == 0).all()


@pytest.mark.parametrize(
    "pixels", [torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 30, 32, dtype=torch.uint8)], ids=["float", "size"]
)
def test_wrong_pixels_are_refused_with_what_was_got(vit: ViT, pixels: torch.Tensor) -> None:
    with pytest.raises(UserError, match="expected uint8"):
        vit(pixels)
    with pytest.raises(UserError, match="square"):
        vit.pool(torch.zeros(1, 7, 24))


@torch.no_grad()
def test_a_saved_encoder_is_the_same_function(vit: ViT, tmp_path: Path) -> None:
    save_modules(tmp_path / "model", {"encoder": vit})
    pixels = clip()
    torch.testing.assert_close(load_encoder(str(tmp_path))(pixels), vit(pixels), rtol=0, atol=0)


def test_a_config_that_names_a_foreign_class_is_refused(vit: ViT, tmp_path: Path) -> None:
    save_modules(tmp_path / "model", {"encoder": vit})
    path = tmp_path / "model" / "encoder" / "config.json"
    path.write_text(json.dumps({"class_path": "subprocess.Popen", "init_args": {"args": "true"}}))
    with pytest.raises(UserError, match=r"subprocess\.Popen"):
        load_module(path.parent)
