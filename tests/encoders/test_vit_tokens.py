"""The vision transformer: what it sees, what it drops, and how it is saved."""

import json
from pathlib import Path

import pytest
import torch

from jepa_wm.checkpoint import load_module, save_modules
from jepa_wm.encoders import (
    AttentionPool,
    BlockOptions,
    CentredRope,
    ClassPool,
    ConvStem,
    GridPool,
    Learned,
    PooledFrames,
    Rope,
    SinCos,
    ViT,
    load_encoder,
)
from jepa_wm.encoders import vit as make_vit
from jepa_wm.errors import UserError


@pytest.fixture
def vit() -> ViT:
    torch.manual_seed(0)
    return ViT(patch=8, dim=24, depth=2, heads=2, pooling=GridPool(6, 2)).eval()


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
    latents = PooledFrames()(vit, pixels)
    assert latents.shape == (2, 3, 1, 6)
    torch.testing.assert_close(latents[1, 2, 0], vit.pooled(pixels[1:2, 2])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "pixels", [torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 30, 32, dtype=torch.uint8)], ids=["float", "size"]
)
def test_wrong_pixels_are_refused_with_what_was_got(vit: ViT, pixels: torch.Tensor) -> None:
    with pytest.raises(UserError, match="expected uint8"):
        vit(pixels)


OTHERS = {
    "rope": ViT(8, 1, 24, 2, 2, positions=Rope(), prefix=2),
    "tiled": ViT(8, 1, 24, 2, 2, positions=Rope(tiled=True)),
    "centred": ViT(8, 1, 24, 2, 2, positions=CentredRope(), prefix=1, pooling=ClassPool()),
    "learned": ViT(8, 1, 24, 2, 2, positions=Learned((3, 4, 4)), block=BlockOptions(qk_norm=True)),
    "swiglu": ViT(8, 1, 24, 2, 2, block=BlockOptions("swiglu", layer_scale=0.1), pooling=AttentionPool(2)),
    "levels": ViT(8, 1, 24, 3, 2, levels=(0, 1), modalities=True, positions=SinCos(2)),
    "convolved": ViT(8, 1, 24, 2, 2, stem=ConvStem(8)),
}
every_kind = pytest.mark.parametrize("kind", OTHERS)


@every_kind
@torch.no_grad()
def test_whatever_the_kind_dropped_tokens_leave_the_others_their_places(kind: str) -> None:
    """A block-diagonal check: with one token kept, it attends to itself (and to the prefix) alone."""
    vit, pixels = OTHERS[kind].eval(), clip()
    order = torch.stack([torch.randperm(48), torch.randperm(48)])
    expected = vit(pixels).gather(1, order[..., None].expand(-1, -1, 24))
    torch.testing.assert_close(vit(pixels, order), expected, rtol=1e-4, atol=1e-5)


@every_kind
def test_whatever_the_kind_it_is_saved_and_every_parameter_learns(kind: str, tmp_path: Path) -> None:
    vit, pixels = OTHERS[kind].train(), clip()
    vit.zero_grad()
    encoded = vit.encode(pixels)
    parts = [vit.pooled(pixels), vit.pooled(pixels[:, 0]), encoded.patches, encoded.prefix, *encoded.levels]
    sum(part.square().sum() * (i + 1) + part.sum() for i, part in enumerate(parts)).backward()
    assert [name for name, parameter in vit.named_parameters() if parameter.grad is None] == []
    save_modules(tmp_path / "model", {"encoder": vit})
    again = load_encoder(str(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(again.pooled(pixels), vit.eval().pooled(pixels), rtol=0, atol=0)


def test_activations_that_are_computed_again_give_the_same_gradients() -> None:
    pixels, keep, found = clip(), torch.stack([torch.randperm(48)[:9] for _ in range(2)]), []
    for recompute in (False, True):
        torch.manual_seed(0)
        vit = ViT(8, 1, 24, 2, 2, BlockOptions(recompute=recompute, drop_path=0.5), Rope(), prefix=1).train()
        torch.manual_seed(1)
        vit(pixels, keep).square().sum().backward()
        found.append([parameter.grad for parameter in vit.parameters() if parameter.grad is not None])
    assert len(found[0]) == len(found[1]) > 20
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


@torch.no_grad()
def test_a_clip_may_be_longer_and_larger_than_any_before() -> None:
    for kind, vit in OTHERS.items():
        tokens = vit.eval()(clip(5, 48))
        assert tokens.shape == (2, 5 * 36, 24) and tokens.isfinite().all(), kind


@torch.no_grad()
def test_images_have_an_embedding_of_their_own_where_modalities_are_told_apart() -> None:
    vit = ViT(8, 2, 24, 1, 2, modalities=True)
    images, clips = clip(1)[:, 0], clip(4)
    before = vit(images), vit(clips)
    vit.image_embed.weight.mul_(2.0)  # type: ignore[union-attr]
    assert not torch.allclose(vit(images), before[0], atol=1e-3)
    torch.testing.assert_close(vit(clips), before[1])
    vit.modality[1, :12] += 1.0  # type: ignore[index]
    assert not torch.allclose(vit(clips), before[1], atol=1e-3)


@torch.no_grad()
def test_levels_are_what_earlier_blocks_gave_under_norms_of_their_own() -> None:
    vit = ViT(8, 1, 24, 3, 2, levels=(1,)).eval()
    short = ViT(8, 1, 24, 2, 2).eval()
    short.load_state_dict({k: v for k, v in vit.state_dict().items() if k in short.state_dict()})
    vit.level_norms[0].weight.mul_(3.0)
    torch.testing.assert_close(vit.encode(clip := globals()["clip"]()).levels[0], 3 * short(clip))


@torch.no_grad()
def test_drop_path_rises_from_the_first_block_to_the_last() -> None:
    vit = ViT(8, 1, 24, 3, 2, BlockOptions(drop_path=0.4))
    assert [block.drop_path.drop_prob for block in vit.blocks] == pytest.approx([0.0, 0.2, 0.4])


def dinov2(dim: int, depth: int, heads: int, registers: int = 0, block: BlockOptions | None = None) -> ViT:
    return ViT(14, 1, dim, depth, heads, block or BlockOptions(layer_scale=1.0), Learned((1, 37, 37)), 1 + registers)


def dinov3(dim: int, depth: int, heads: int, mlp: str = "gelu", ratio: float = 4.0) -> ViT:
    return ViT(16, 1, dim, depth, heads, BlockOptions(mlp, ratio, layer_scale=1.0), CentredRope(), 5)


PUBLISHED = {
    "ijepa_vith14_224": lambda: make_vit("huge", 14),
    "ijepa_vith16_448": lambda: make_vit("huge", 16),
    "ijepa_vitg16_224": lambda: make_vit("giant", 16),
    "vjepa2_vitl16_256_64frames": lambda: make_vit("large", 16, 2),
    "vjepa2_vith16_256_64frames": lambda: make_vit("huge", 16, 2),
    "vjepa2_vitg16_256_64frames": lambda: make_vit("giant", 16, 2),
    "dinov2_vits14_518": lambda: dinov2(384, 12, 6),
    "dinov2_vits14_reg_518": lambda: dinov2(384, 12, 6, 4),
    "dinov2_vitb14_518": lambda: dinov2(768, 12, 12),
    "dinov2_vitl14_reg_518": lambda: dinov2(1024, 24, 16, 4),
    "dinov2_vitg14_518": lambda: dinov2(1536, 40, 24, block=BlockOptions("swiglu", 8 / 3, layer_scale=1.0)),
    "dinov3_vits16": lambda: dinov3(384, 12, 6),
    "dinov3_vits16plus": lambda: dinov3(384, 12, 6, "swiglu"),
    "dinov3_vitb16": lambda: dinov3(768, 12, 12),
    "dinov3_vitl16": lambda: dinov3(1024, 24, 16),
    "dinov3_vith16plus": lambda: dinov3(1280, 32, 20, "swiglu"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_have_the_published_numbers_of_parameters(name: str) -> None:
    published = json.loads((Path(__file__).parents[1] / "golden" / "parameters.json").read_text())["numbers"][name]
    with torch.device("meta"):
        vit = PUBLISHED[name]()
    ours = sum(parameter.numel() for parameter in vit.parameters())
    # DINOv2 has a position for the class token too, which here is part of that token.
    assert ours == published["learned"] - (vit.dim if name.startswith("dinov2") else 0)


def test_deits_tiny_and_vits_small_and_base_are_as_timm_has_them() -> None:
    import timm

    for size in ("tiny", "small", "base", "large"):
        with torch.device("meta"):
            theirs = timm.create_model(f"vit_{size}_patch16_224", num_classes=0)
            ours = make_vit(size, positions=Learned(), prefix=1)
        counts = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
        assert counts[0] == counts[1] - ours.dim


def test_sizes_that_do_not_fit_are_refused() -> None:
    for bad, message in (
        (lambda: ViT(dim=100, heads=3), "heads that divide"),
        (lambda: ViT(depth=2, levels=(2,)), "blocks from 0 to 1"),
        (lambda: ViT(pooling=ClassPool()), "no prefix"),
        (lambda: BlockOptions("relu"), "gelu_tanh"),
        (lambda: SinCos(4), "expected 2"),
        (lambda: make_vit("enormous"), "tiny, small"),
    ):
        with pytest.raises(UserError, match=message):
            bad()


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
