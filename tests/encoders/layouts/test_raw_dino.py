"""Raw checkpoints of DINOv2 and DINOv3: the stored numbers of the official encoders come out; see tests/golden."""

import json
from pathlib import Path

import pytest
import torch
from formula import fill, matches, pixels
from torch import Tensor

from jepa_wm.encoders import CentredRope, ViT, load_encoder
from jepa_wm.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from jepa_wm.errors import UserError

SATELLITE_MEAN, SATELLITE_STD = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)
GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "backbones.json").read_text())


def published(name: str) -> dict[str, Tensor]:
    """The state of a released file."""
    state = fill(GOLDEN["parameters"][name], f"{name}.")
    for key, values in GOLDEN["buffers"][name].items():
        state[key] = torch.tensor(values)
    for key in [key for key in state if name.startswith("dinov3") and key.endswith("qkv.bias")]:
        mask = torch.ones_like(state[key])
        mask[len(mask) // 3 : 2 * len(mask) // 3] = 0
        state[f"{key}_mask"] = mask
    return state


def saved(state: dict, path: Path) -> ViT:
    torch.save(state, path)
    return load_encoder(str(path), heads=4)


def check(vit: ViT, name: str, tolerance: float) -> None:
    for side, stored in GOLDEN["numbers"][name].items():
        images = pixels(f"{name}.{side}", (2, 3, int(side), int(side)))
        encoded = vit.encode(images)
        assert matches(stored["x_norm_patchtokens"], encoded.patches, tolerance)
        assert matches(stored["x_norm_clstoken"], vit.pooled(images), tolerance)
        for registers in ("x_norm_regtokens", "x_storage_tokens"):
            if registers in stored:
                assert matches(stored[registers], encoded.prefix[:, 1:], tolerance)


@pytest.mark.parametrize("name", GOLDEN["numbers"])
@torch.no_grad()
def test_as_released(name: str, tmp_path: Path) -> None:
    vit = saved(published(name), tmp_path / "weights.pth")
    check(vit, name, 1e-6)
    assert vit.source == f"weights.pth: its only weights ({'DINOv2' if 'dinov2' in name else 'DINOv3'} layout)"


@pytest.mark.parametrize("name", ["dinov2.chunks", "dinov3.gated"])
@torch.no_grad()
def test_as_a_training_saves_its_teacher(name: str, tmp_path: Path) -> None:
    heads = {f"{head}.mlp.0.weight": torch.zeros(2, 2) for head in ("dino_head", "ibot_head")}
    teacher = {f"backbone.{key}": value for key, value in published(name).items()} | heads
    student = {key: value if "periods" in key else torch.zeros_like(value) for key, value in teacher.items()}
    vit = saved({"teacher": teacher, "student": student, "iteration": 7}, tmp_path / "teacher_checkpoint.pth")
    check(vit, name, 1e-6)
    assert vit.source.startswith("teacher_checkpoint.pth: teacher ")
    context = load_encoder(str(tmp_path / "teacher_checkpoint.pth"), "context", heads=4)
    assert not context.embed.weight.any()


@torch.no_grad()
def test_the_bias_of_dinov3s_keys_is_masked_whatever_it_is(tmp_path: Path) -> None:
    state = published("dinov3.plain")
    for key in [key for key in state if key.endswith("qkv.bias")]:
        state[key][48:96] = torch.nan
    check(saved(state, tmp_path / "weights.pth"), "dinov3.plain", 1e-6)


@torch.no_grad()
def test_dinov3s_heads_and_base_are_read_off_its_periods(tmp_path: Path) -> None:
    state = published("dinov3.plain") | {"rope_embed.periods": 30.0 ** (torch.arange(3) / 3)}
    torch.save(state, tmp_path / "weights.pth")
    vit = load_encoder(str(tmp_path / "weights.pth"))
    assert isinstance(vit.positions, CentredRope) and vit.positions.base == pytest.approx(30) and vit.heads == 4
    torch.save(state | {"rope_embed.periods": torch.tensor([1.0, 2.0, 3.0])}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"not powers of one base"):
        load_encoder(str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("name", ["dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth", "dinov3_vitl16_pretrain_lvd1689m.pth"])
def test_dinov3_of_satellite_pictures_has_their_colours(name: str, tmp_path: Path) -> None:
    vit = saved(published("dinov3.plain"), tmp_path / name)
    colours = (SATELLITE_MEAN, SATELLITE_STD) if "sat493m" in name else (IMAGENET_MEAN, IMAGENET_STD)
    assert (vit.preprocessing.mean, vit.preprocessing.std) == colours and vit.preprocessing.size == 256
    torch.testing.assert_close(vit.mean.flatten(), torch.tensor(colours[0]))
