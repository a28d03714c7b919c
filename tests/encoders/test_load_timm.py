"""ViTs of timm with random weights: the same numbers behind our contract, and files of theirs load."""

import re
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import PatchDropoutWithIndices
from torch import Tensor, nn

from jepa_wm.checkpoint import load_module, save_modules
from jepa_wm.encoders import TimmEncoder, load_encoder
from jepa_wm.errors import UserError

NAMES = [
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
    "vit_small_plus_patch16_dinov3_qkvb",
    "eva02_tiny_patch14_224",
    "vit_betwixt_patch16_rope_reg4_gap_256",
    "vit_small_patch16_rope_mixed_224",
    "vit_base_patch16_siglip_224.v2_webli",
    "vit_base_patch16_siglip_gap_224.v2_webli",
]
every_model = pytest.mark.parametrize("name", NAMES)


def randomised(model: nn.Module) -> nn.Module:
    """No parameter that timm draws near 0 hides what it does."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 or "token" in name or "pos_embed" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All models are cut to two blocks, which is all that differs between them."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *args, **options: create(*args, depth=2, **options))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)


def images(side: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)


def normalised(pixels: Tensor, model: nn.Module) -> Tensor:
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    return (pixels / 255 - mean) / std


@every_model
@torch.no_grad()
def test_tokens_and_latents_are_those_of_timm(name: str, tmp_path: Path) -> None:
    theirs = randomised(timm.create_model(name, dynamic_img_size=True, num_classes=0))
    wrapped = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": wrapped}, tmp_path / "w.pt")
    encoder = load_encoder(f"timm:{name}@{tmp_path / 'w.pt'}")
    patch = encoder.patch
    for side in (6 * patch, 9 * patch):
        pixels = images(side)
        features = theirs.forward_features(normalised(pixels, theirs))
        tokens = encoder(pixels)
        torch.testing.assert_close(tokens, features[:, theirs.num_prefix_tokens :], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(encoder.pooled(pixels), theirs(normalised(pixels, theirs)), rtol=1e-5, atol=1e-5)
        assert encoder.grid_of(pixels) == (1, side // patch, side // patch) and tokens.shape[-1] == encoder.dim
    assert encoder.pooled(pixels).shape[1] == encoder.latent_dim
    assert encoder.source == f"w.pt: state_dict (for timm's {name})"


@every_model
@torch.no_grad()
def test_dropped_patches_are_never_seen_and_the_others_keep_their_places(name: str) -> None:
    encoder = randomised(TimmEncoder(name))
    side = 4 * encoder.patch
    pixels = images(side)
    order = torch.stack([torch.randperm(16) for _ in range(2)])
    full, pooled = encoder(pixels), encoder.pooled(pixels)
    expected = full.gather(1, order[..., None].expand_as(full))
    torch.testing.assert_close(encoder(pixels, order), expected, rtol=1e-4, atol=1e-4)
    keep, p = torch.tensor([[0, 6, 13]]).expand(2, -1), encoder.patch
    other = 255 - pixels
    for row, column in ((0, 0), (1, 2), (3, 1)):
        cell = (..., slice(p * row, p * row + p), slice(p * column, p * column + p))
        other[cell] = pixels[cell]
    torch.testing.assert_close(encoder(other, keep), encoder(pixels, keep), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(encoder(other), full, atol=1e-3)
    encoder(pixels, keep)
    torch.testing.assert_close(encoder.pooled(pixels), pooled)


@torch.no_grad()
def test_patches_are_dropped_where_timm_drops_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """With timm's own dropout, made to keep what we name, rotations gathered as it gathers them."""
    encoder = randomised(TimmEncoder("vit_small_patch16_dinov3"))
    pixels, keep = images(64), torch.stack([torch.randperm(16)[:8] for _ in range(2)])
    ours = encoder(pixels, keep)
    dropout = PatchDropoutWithIndices(0.5, num_prefix_tokens=5).train()
    monkeypatch.setattr(torch, "argsort", lambda *args, **options: keep)
    encoder.model.patch_drop = dropout
    theirs = encoder.model.forward_features(normalised(pixels, encoder.model))
    torch.testing.assert_close(ours, theirs[:, 5:])


@torch.no_grad()
def test_clips_are_encoded_frame_by_frame() -> None:
    encoder = randomised(TimmEncoder("vit_tiny_patch16_224"))
    clip = images(32).unsqueeze(1).repeat(1, 3, 1, 1, 1)
    clip[:, 1] = 255 - clip[:, 1]
    tokens = encoder(clip)
    assert tokens.shape == (2, 12, 192) and encoder.grid_of(clip) == (3, 2, 2)
    torch.testing.assert_close(tokens[:, 4:8], encoder(clip[:, 1]), rtol=1e-4, atol=1e-5)
    mean = (2 * encoder.pooled(clip[:, 0]) + encoder.pooled(clip[:, 1])) / 3
    torch.testing.assert_close(encoder.pooled(clip), mean, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="frames one by one"):
        encoder(clip, torch.zeros(2, 1).long())
    keep = torch.tensor([[3], [0]])
    torch.testing.assert_close(encoder(clip[:, :1], keep), encoder(clip[:, 0], keep))


def test_the_tag_decides_the_preprocessing() -> None:
    dino, siglip = TimmEncoder(NAMES[3]).preprocessing, TimmEncoder(NAMES[9]).preprocessing
    assert (dino.size, dino.crop, dino.interpolation, dino.mean[0]) == (518, 1.0, "bicubic", 0.485)
    assert (siglip.size, siglip.mean[0]) == (224, 0.5)


@torch.no_grad()
def test_saved_and_loaded_without_timm_fetching_anything(tmp_path: Path) -> None:
    encoder = randomised(TimmEncoder("vit_small_patch16_dinov3.lvd1689m"))
    save_modules(tmp_path, {"encoder": encoder})
    again = load_module(tmp_path / "encoder")
    assert torch.equal(again(images(32)), encoder(images(32)))


@pytest.mark.parametrize("published", ["dinov2.registers", "dinov3.plain"])
def test_raw_files_fit_timms_names_too(published: str, tmp_path: Path) -> None:
    """timm's own filter is asked: a raw DINOv3 has storage tokens and masked biases, timm's registers and none."""
    name = {"dinov2.registers": NAMES[3], "dinov3.plain": NAMES[4]}[published]
    model = timm.create_model(name, num_classes=0)
    state = {key.replace("reg_token", "storage_tokens"): value for key, value in model.state_dict().items()}
    state = {re.sub(r"gamma_([12])$", r"ls\1.gamma", key): value for key, value in state.items()}
    state["mask_token"] = torch.zeros(1, model.embed_dim)
    if "dinov2" in published:
        state = {key.replace("storage_tokens", "register_tokens"): value for key, value in state.items()}
        state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], state["pos_embed"]], dim=1)
    torch.save({"teacher": state, "student": {}}, tmp_path / "raw.pth")
    encoder = load_encoder(f"timm:{name}@{tmp_path / 'raw.pth'}")
    torch.testing.assert_close(encoder.model.norm.weight, model.norm.weight)
    torch.testing.assert_close(encoder.model.reg_token, model.reg_token)
    assert "teacher" in encoder.source


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm:vit_small_patch16_dino3", "did you mean vit_small_patch16_dinov3"),
        ("timm:vit_tny", "did you mean vit_tiny"),
        ("timm:resnet18", "is no ViT"),
        ("timm:vit_tiny_patch16_224@nowhere.pt", "nowhere.pt does not exist"),
        ("timm:vit_tiny_patch16_224@{folder}/other.pt", r"missing blocks\.0.*of another shape blocks"),
    ],
)
def test_what_does_not_fit_is_refused(source: str, message: str, tmp_path: Path) -> None:
    state = timm.create_model("vit_small_patch16_224").state_dict()
    state = {key: value for key, value in state.items() if "norm1" not in key}
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(UserError, match=message):
        load_encoder(source.format(folder=tmp_path))


def test_a_release_that_cannot_be_fetched_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"timm:vit_tiny_patch16_224@FILE"):
        load_encoder("timm:vit_tiny_patch16_224")


@pytest.mark.parametrize("part", [None, "target"])
@torch.no_grad()
def test_a_release_that_timm_gives_is_taken_as_it_is(part: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pretrained=True` would have fetched, without a network."""
    create, asked = timm.create_model, []

    def give(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        asked.append(pretrained)
        model = create(name, **options)
        return randomised(model) if pretrained else model

    monkeypatch.setattr(timm, "create_model", give)
    encoder = load_encoder("timm:vit_tiny_patch16_224.augreg_in21k", part)
    theirs = give("vit_tiny_patch16_224", pretrained=True, num_classes=0)
    assert asked[:2] == [False, True] and torch.equal(encoder.model.norm.weight, theirs.norm.weight)
    assert "published" in encoder.source and not encoder.training


@pytest.mark.parametrize(
    ("name", "part", "has"),
    [
        ("vit_tiny_patch16_224", "context", "target"),
        ("vit_tiny_patch16_224", "nonsense", "target"),
        ("vit_huge_patch14_gap_224.in1k_ijepa", "target", "context"),
    ],
)
def test_a_part_that_a_release_does_not_have_is_refused(name: str, part: str, has: str) -> None:
    with pytest.raises(UserError, match=rf"'{name}' has one encoder; got part '{part}', expected none, or {has}; "):
        load_encoder(f"timm:{name}", part)


def test_parts_of_a_file_are_told_apart(tmp_path: Path) -> None:
    states = [timm.create_model("vit_tiny_patch16_224").state_dict() for _ in range(2)]
    torch.save({"student": states[0], "teacher": states[1]}, tmp_path / "both.pth")
    for part, state in ((None, states[1]), ("target", states[1]), ("context", states[0])):
        encoder = load_encoder(f"timm:vit_tiny_patch16_224@{tmp_path / 'both.pth'}", part)
        assert torch.equal(encoder.model.cls_token, state["cls_token"])
    with pytest.raises(UserError, match="holds no 'nonsense' weights; it holds student, teacher"):
        load_encoder(f"timm:vit_tiny_patch16_224@{tmp_path / 'both.pth'}", "nonsense")
