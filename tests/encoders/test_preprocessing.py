"""Pictures as an encoder wants them: resized, then cut out; or squeezed whole."""

import json
from pathlib import Path

import pytest
import torch

from jepa_wm.encoders import Preprocessing
from jepa_wm.encoders.hub import preprocessing_of


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 24), (24, 16)])
def test_the_middle_is_cut_out_of_a_picture_whose_shorter_side_is_the_size_over_the_crop(
    height: int, width: int
) -> None:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    top, left = (height - 8) // 2, (width - 8) // 2
    # The shorter side is 8 / .5 pixels already.
    assert torch.equal(Preprocessing(8, 0.5)(pixels), pixels[..., top : top + 8, left : left + 8])


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_the_shorter_side_is_resized(crop: float) -> None:
    pixels = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    side = round(8 / crop)
    # Of the nearest pixels each fourth or eighth is left.
    nearest = pixels[..., :: 64 // side, :: 64 // side]
    top, left = (side - 8) // 2, (side * 3 // 2 - 8) // 2
    expected = nearest[..., top : top + 8, left : left + 8]
    assert torch.equal(Preprocessing(8, crop, "nearest")(pixels), expected)


def test_without_a_crop_the_whole_picture_is_squeezed() -> None:
    stripe = torch.zeros(3, 8, 32, dtype=torch.uint8)
    stripe[..., 16:] = 255
    found = Preprocessing(8, 0.0, "bilinear")(stripe)
    assert found.shape == (3, 8, 8)
    assert (found[..., :3] == 0).all() and (found[..., 5:] == 255).all()
    rim = torch.zeros(3, 8, 32, dtype=torch.uint8)
    rim[..., :8] = 255
    assert (Preprocessing(8, 0.0, "bilinear")(rim)[..., 0] == 255).all()
    assert not Preprocessing(8, 1.0, "bilinear")(rim).any()


def test_patches_of_a_model_for_any_size_make_a_square(tmp_path: Path) -> None:
    """SigLIP 2's preprocessor configs for any size give the number of patches and no size."""
    config = {"max_num_patches": 256, "patch_size": 16, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    found = preprocessing_of(tmp_path)
    assert found is not None
    half = (0.5, 0.5, 0.5)
    assert vars(found) == vars(Preprocessing(256, 0.0, "bilinear", half, half))
