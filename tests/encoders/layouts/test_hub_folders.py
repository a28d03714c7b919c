"""Models of transformers, with random weights, saved in the hub's layout: they give the same numbers when loaded."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jepa_wm.checkpoint import save_modules
from jepa_wm.encoders import ViT, load_encoder
from jepa_wm.errors import UserError

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGE = SMALL | {"image_size": 48, "patch_size": 8}
EXACT = {"rtol": 1e-9, "atol": 1e-10}


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with no parameter at a value that hides what it does, nor so small that it does nothing."""
    torch.manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.3
            scale = name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "lambda1"))
            parameter.copy_(torch.randn_like(parameter) * spread + (1.0 if scale else 0.0))
    return model


def loaded(model: nn.Module, folder: Path) -> ViT:
    """What is loaded, after it was also saved and loaded as one of ours."""
    model.save_pretrained(folder)
    vit = load_encoder(f"hf:{folder}")
    save_modules(folder / "ours", {"encoder": vit})
    again = load_encoder(str(folder / "ours"))
    assert again.preprocessing.__dict__ == vit.preprocessing.__dict__
    # What is more precise than float32 stays so; what is less comes back in it.
    kept = vit if vit.norm.weight.dtype == torch.float64 else copy.deepcopy(vit).float()
    assert torch.equal(again.pooled(picture(64)), kept.pooled(picture(64)))
    return vit


def normalised(pixels: Tensor, vit: ViT) -> Tensor:
    mean, std = (
        torch.tensor(x, dtype=torch.float64)[:, None, None]
        for x in (vit.mean.flatten().tolist(), vit.std.flatten().tolist())
    )
    return (pixels.double() / 255 - mean) / std


def picture(side: int = 48, frames: int = 0) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (2, frames, 3, side, side) if frames else (2, 3, side, side), dtype=torch.uint8)


def permuted(vit: ViT, pixels: Tensor) -> None:
    """Tokens that are kept in another order stay who they are."""
    full = vit(pixels)
    keep = torch.stack([torch.randperm(full.shape[1]) for _ in full])
    torch.testing.assert_close(vit(pixels, keep), full.gather(1, keep[..., None].expand_as(full)), **EXACT)


@torch.no_grad()
def test_i_jepa(tmp_path: Path) -> None:
    config = transformers.IJepaConfig(**IMAGE, intermediate_size=96, layer_norm_eps=1e-5)
    model = randomised(transformers.IJepaModel(config))
    vit = loaded(model, tmp_path)
    for side in (48, 32, 72):
        pixels = picture(side)
        theirs = model(normalised(pixels, vit), interpolate_pos_encoding=True).last_hidden_state
        torch.testing.assert_close(vit(pixels), theirs, **(EXACT if side == 48 else {"rtol": 1e-5, "atol": 1e-6}))
    permuted(vit, picture())
    assert "I-JEPA" in vit.source


@torch.no_grad()
@pytest.mark.parametrize("whole", ["ViTModel", "ViTForImageClassification"])
def test_vit(tmp_path: Path, whole: str) -> None:
    config = transformers.ViTConfig(**IMAGE, intermediate_size=96, layer_norm_eps=1e-5)
    model = randomised(getattr(transformers, whole)(config))
    vit = loaded(model, tmp_path)
    for side in (48, 72):
        pixels = picture(side)
        inner = getattr(model, "vit", model)
        theirs = inner(normalised(pixels, vit), interpolate_pos_encoding=True).last_hidden_state
        found = vit.encode(pixels)
        exact = EXACT if side == 48 else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(torch.cat([found.prefix, found.patches], dim=1), theirs, **exact)
    permuted(vit, picture())


@torch.no_grad()
def test_i_jepa_within_a_classifier(tmp_path: Path) -> None:
    model = randomised(transformers.IJepaForImageClassification(transformers.IJepaConfig(**IMAGE)))
    vit, pixels = loaded(model, tmp_path), picture()
    torch.testing.assert_close(vit(pixels), model.ijepa(normalised(pixels, vit)).last_hidden_state, **EXACT)


@pytest.mark.parametrize("heads", [2, 4])
@torch.no_grad()
def test_v_jepa_2(heads: int, tmp_path: Path) -> None:
    config = transformers.VJEPA2Config(
        **SMALL | {"num_attention_heads": heads},
        crop_size=48,
        patch_size=8,
        frames_per_clip=8,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
    )
    model = randomised(transformers.VJEPA2Model(config))
    vit = loaded(model, tmp_path)
    for frames, side in ((8, 48), (4, 48), (1, 48), (4, 64)):
        for layer in model.encoder.layer:  # Hugging Face counts rows by the size it was configured for
            layer.attention.grid_size = side // 8
        pixels = picture(side, frames)
        theirs = model(normalised(pixels, vit), skip_predictor=True).last_hidden_state
        torch.testing.assert_close(vit(pixels), theirs, rtol=1e-5, atol=1e-6)
    permuted(vit, picture(48, 4))


@pytest.mark.parametrize("kind", ["plain", "gated", "registers", "gated registers"])
@torch.no_grad()
def test_dinov2(kind: str, tmp_path: Path) -> None:
    gated = {"use_swiglu_ffn": "gated" in kind}
    if "registers" in kind:
        config = transformers.Dinov2WithRegistersConfig(**IMAGE, **gated, num_register_tokens=3)
        model = randomised(transformers.Dinov2WithRegistersModel(config))
    else:
        model = randomised(transformers.Dinov2Model(transformers.Dinov2Config(**IMAGE, **gated)))
    vit, prefix = loaded(model, tmp_path), 4 if "registers" in kind else 1
    for side in (48, 32, 72):
        pixels = picture(side)
        theirs = model(normalised(pixels, vit))
        exact = EXACT if side == 48 else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(vit(pixels), theirs.last_hidden_state[:, prefix:], **exact)
        torch.testing.assert_close(vit.pooled(pixels), theirs.pooler_output, **exact)
        torch.testing.assert_close(vit.encode(pixels).prefix, theirs.last_hidden_state[:, :prefix], **exact)
    permuted(vit, picture())


@pytest.mark.parametrize("gated", [False, True])
@torch.no_grad()
def test_dinov3(gated: bool, tmp_path: Path) -> None:
    config = transformers.DINOv3ViTConfig(
        **IMAGE,
        intermediate_size=80,
        num_register_tokens=4,
        use_gated_mlp=gated,
        hidden_act="silu" if gated else "gelu",
        rope_theta=50.0,
    )
    model = randomised(transformers.DINOv3ViTModel(config))
    vit = loaded(model, tmp_path)
    for side in (48, 32, 72):
        pixels = picture(side)
        theirs = model(normalised(pixels, vit))
        torch.testing.assert_close(vit(pixels), theirs.last_hidden_state[:, 5:], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(vit.pooled(pixels), theirs.pooler_output, rtol=1e-5, atol=1e-6)
    permuted(vit, picture())


@pytest.mark.parametrize("whole", [False, True])
@torch.no_grad()
def test_siglip(whole: bool, tmp_path: Path) -> None:
    vision = transformers.SiglipVisionConfig(**IMAGE, intermediate_size=100)
    if whole:
        text = transformers.SiglipTextConfig(**SMALL, vocab_size=64, bos_token_id=1, eos_token_id=2)
        config = transformers.SiglipConfig(vision_config=vision.to_dict(), text_config=text.to_dict())
        model = randomised(transformers.SiglipModel(config))
        tower = model.vision_model
    else:
        tower = model = randomised(transformers.SiglipVisionModel(vision))
    vit = loaded(model, tmp_path)
    assert vit.preprocessing.mean == (0.5, 0.5, 0.5)
    for side in (48, 32, 72):
        pixels = picture(side)
        theirs = tower(normalised(pixels, vit), interpolate_pos_encoding=True)
        exact = EXACT if side == 48 else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(vit(pixels), theirs.last_hidden_state, **exact)
        torch.testing.assert_close(vit.pooled(pixels), theirs.pooler_output, **exact)
    permuted(vit, picture())


def test_a_part_of_what_has_one_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has one encoder; got part 'nonsense'"):
        load_encoder(f"hf:{tmp_path}", part="nonsense")


@torch.no_grad()
def test_siglip_2_of_any_size(tmp_path: Path) -> None:
    config = transformers.Siglip2VisionConfig(**SMALL, patch_size=8, num_patches=36)
    model = randomised(transformers.Siglip2VisionModel(config))
    vit = loaded(model, tmp_path)
    for side in (48, 32, 72):
        pixels, grid = picture(side), side // 8
        patches = (
            normalised(pixels, vit).unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).flatten(1, 2).flatten(2)
        )
        theirs = model(patches, torch.ones(2, grid**2).long(), torch.tensor([[grid, grid]] * 2))
        torch.testing.assert_close(vit(pixels), theirs.last_hidden_state, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(vit.pooled(pixels), theirs.pooler_output, rtol=1e-5, atol=1e-6)


DEFAULTS = {
    "dinov2": (lambda: transformers.Dinov2Model(transformers.Dinov2Config(**WIDE)), {}),
    "dinov3": (lambda: transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**HALF)), {}),
    "ijepa": (lambda: transformers.IJepaModel(transformers.IJepaConfig(**WIDE)), {}),
    "siglip": (lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**WIDE)), {}),
    "vjepa2": (lambda: transformers.VJEPA2Model(transformers.VJEPA2Config(**WIDER)), {"skip_predictor": True}),
}
WIDE = {"hidden_size": 48, "num_hidden_layers": 1, "image_size": 32, "patch_size": 16}
HALF = {"hidden_size": 24, "num_hidden_layers": 1, "image_size": 32, "patch_size": 16}
WIDER = {
    "hidden_size": 96,
    "num_hidden_layers": 1,
    "crop_size": 256,
    "pred_hidden_size": 24,
    "pred_num_hidden_layers": 1,
}


@pytest.mark.parametrize("kind", DEFAULTS)
@torch.no_grad()
def test_what_a_config_leaves_out_is_the_default_of_its_type(kind: str, tmp_path: Path) -> None:
    """Published configs name only what differs; numbers of heads, epsilons and activations are often not there."""
    build, options = DEFAULTS[kind]
    model = randomised(build())
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": config["model_type"]}))
    vit = load_encoder(str(tmp_path))
    pixels = picture(256, 2) if kind == "vjepa2" else picture(32)
    theirs = model(normalised(pixels, vit), **options).last_hidden_state
    torch.testing.assert_close(vit(pixels), theirs[:, vit.prefix :], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_shards_and_half_precision(tmp_path: Path) -> None:
    model = randomised(transformers.Dinov2Model(transformers.Dinov2Config(**IMAGE)))
    whole, pixels = loaded(model, tmp_path / "whole"), picture()
    model.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    torch.testing.assert_close(load_encoder(str(tmp_path / "shards"))(pixels), whole(pixels), rtol=0, atol=0)
    half = loaded(model.bfloat16(), tmp_path / "half")
    assert half.embed.weight.dtype == torch.float32
    torch.testing.assert_close(half(pixels).double(), whole(pixels), rtol=0.1, atol=0.2)
    next((tmp_path / "shards").glob("*-00002-*.safetensors")).unlink()
    with pytest.raises(UserError, match="lacks model-00002"):
        load_encoder(str(tmp_path / "shards"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3},
            (224, 0.875, "bicubic", 0.485),
        ),
        ({"size": {"height": 64, "width": 64}, "resample": 2, "image_mean": [0.5] * 3}, (64, 0.0, "bilinear", 0.5)),
        ({"size": {"shortest_edge": 64}, "do_center_crop": False}, (64, 1.0, "bilinear", 0.485)),
        ({"size": {"shortest_edge": 292}, "crop_size": 256}, (256, 256 / 292, "bilinear", 0.485)),
    ],
)
def test_the_preprocessor_config_is_read(config: dict, expected: tuple, tmp_path: Path) -> None:
    transformers.Dinov2Model(transformers.Dinov2Config(**IMAGE)).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    found = load_encoder(str(tmp_path)).preprocessing
    assert (found.size, found.crop, found.interpolation, found.mean[0]) == expected


def test_satellite_pictures_are_known_by_the_name_where_no_config_tells(tmp_path: Path) -> None:
    folder = tmp_path / "dinov3-vitl16-pretrain-sat493m"
    transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**SMALL, intermediate_size=64)).save_pretrained(folder)
    assert load_encoder(f"hf:{folder}").preprocessing.mean == (0.430, 0.411, 0.296)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3}))
    assert load_encoder(f"hf:{folder}").preprocessing.mean == (0.5,) * 3


def test_a_model_of_another_type_is_refused_with_what_it_is(tmp_path: Path) -> None:
    transformers.BeitModel(transformers.BeitConfig(**IMAGE)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"type 'beit' that no layout of .*DINOv2"):
        load_encoder(f"hf:{tmp_path}")


def test_a_model_of_timm_on_the_hub_says_how_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"}))
    with pytest.raises(UserError, match="'timm:vit_tiny_patch16_224'"):
        load_encoder(f"hf:{tmp_path}")


def test_a_tensor_too_many_or_too_few_is_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    transformers.Dinov2Model(transformers.Dinov2Config(**IMAGE)).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["layernormal.weight"] = state.pop("layernorm.weight")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"DINOv2 layout: unknown layernormal\.weight.*missing norm\.weight"):
        load_encoder(f"hf:{tmp_path}")


def test_a_name_that_is_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="'nobody/nothing' is no folder here"):
        load_encoder("hf:nobody/nothing")
