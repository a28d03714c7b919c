"""Towers of open_clip with random weights, saved as its training saves them: the same numbers behind our contract."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import factory, pretrained
from torch import Tensor, nn

from jepa_wm.checkpoint import load_module, save_modules
from jepa_wm.encoders import OpenClipEncoder, OpenClipText, load_encoder, load_text_tower
from jepa_wm.errors import UserError

TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
TIMM = {"image_size": 224, "timm_model_name": "test_vit", "timm_model_pretrained": False}
CONFIGS: dict[str, dict[str, Any]] = {
    "tiny-clip": {"vision_cfg": VISION},
    "tiny-clip-average": {"vision_cfg": VISION | {"pool_type": "avg", "final_ln_after_pool": True}},
    "tiny-coca": {
        "vision_cfg": VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": TEXT | {"attn_pooler_heads": 2},
        "custom_text": True,
    },
    "tiny-timm": {"vision_cfg": TIMM | {"timm_pool": "avg", "timm_proj": "linear"}},
    "tiny-siglip": {
        "vision_cfg": TIMM | {"timm_pool": "map", "timm_proj": "none"},
        "embed_dim": 64,
        "custom_text": True,
        "init_logit_bias": -10,
    },
}
every_tower = pytest.mark.parametrize("name", CONFIGS)


@pytest.fixture(scope="module", autouse=True)
def _configs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models of our own in open_clip's registry, as a user adds them."""
    folder = tmp_path_factory.mktemp("configs")
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 24, "text_cfg": TEXT} | config))
    open_clip.add_model_config(folder)
    yield
    factory._MODEL_CONFIG_PATHS.remove(folder)
    for name in CONFIGS:
        factory._MODEL_CONFIGS.pop(name)


def randomised(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    model = open_clip.create_model(name, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def saved(model: nn.Module, path: Path) -> Path:
    """As open_clip's training writes it."""
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": state, "optimizer": {"state": {}}}, path)
    return path


def images(side: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)


def normalised(pixels: Tensor, config: dict[str, Any]) -> Tensor:
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    return (pixels / 255 - mean) / std


@every_tower
@torch.no_grad()
def test_latents_and_tokens_are_those_of_open_clip(name: str, tmp_path: Path) -> None:
    theirs = randomised(name)
    encoder = load_encoder(f"open_clip:{name}@{saved(theirs, tmp_path / 'epoch_1.pt')}")
    side = 32 if "timm" not in name and "siglip" not in name else encoder.preprocessing.size
    pixels = images(side)
    inputs = normalised(pixels, theirs.visual.preprocess_cfg)
    torch.testing.assert_close(
        encoder.pooled(pixels), theirs.encode_image(inputs, normalize=False), rtol=1e-5, atol=1e-5
    )
    options = {"indices": 1, "normalize_intermediates": "average" not in name and "coca" not in name}
    tokens = theirs.visual.forward_intermediates(inputs, output_fmt="NLC", **options)["image_intermediates"][-1]
    torch.testing.assert_close(encoder(pixels), tokens, rtol=1e-5, atol=1e-5)
    assert encoder.grid_of(pixels) == (1, side // encoder.patch, side // encoder.patch)
    assert encoder.pooled(pixels).shape[1] == encoder.latent_dim and tokens.shape[2] == encoder.dim
    assert encoder.source.startswith(f"open_clip's {name}: the image tower of")


@every_tower
@torch.no_grad()
def test_dropped_patches_are_never_seen_and_the_others_keep_their_places(name: str) -> None:
    encoder = OpenClipEncoder(name).eval()
    side, p = encoder.preprocessing.size, encoder.patch
    pixels, columns = images(side), side // p
    full = encoder(pixels)
    order = torch.stack([torch.randperm(columns**2) for _ in range(2)])
    expected = full.gather(1, order[..., None].expand_as(full))
    torch.testing.assert_close(encoder(pixels, order), expected, rtol=1e-4, atol=1e-4)
    other, keep = 255 - pixels, torch.tensor([[0, columns + 2]]).expand(2, -1)
    for row, column in ((0, 0), (1, 2)):
        cell = (..., slice(p * row, p * row + p), slice(p * column, p * column + p))
        other[cell] = pixels[cell]
    torch.testing.assert_close(encoder(other, keep), encoder(pixels, keep), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(encoder(other), full, atol=1e-3)


@torch.no_grad()
def test_the_text_tower(tmp_path: Path) -> None:
    theirs = randomised("tiny-clip")
    tower = load_text_tower(f"open_clip:tiny-clip@{saved(theirs, tmp_path / 'epoch_1.pt')}")
    assert isinstance(tower, OpenClipText) and tower.dim == 24
    sentences = ["a red door", "a much longer sentence, which has to be cut at twelve tokens and no later"]
    expected = theirs.encode_text(open_clip.get_tokenizer("tiny-clip")(sentences, context_length=12))
    torch.testing.assert_close(tower(sentences), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_weights_decide_which_gelu_and_which_colours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """open_clip warns where a model and a tag disagree on QuickGELU, and computes something else."""
    tag = {"url": "", "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0), "quick_gelu": True, "resize_mode": "squash"}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny-clip", {"openai": tag})
    theirs = randomised("tiny-clip", quick_gelu=True)
    path = saved(theirs, tmp_path / "epoch_1.pt")
    pixels = images(32)
    quick = load_encoder(f"open_clip:tiny-clip:openai@{path}")
    expected = theirs.encode_image(normalised(pixels, tag))
    torch.testing.assert_close(quick.pooled(pixels), expected, rtol=1e-5, atol=1e-5)
    assert quick.preprocessing.mean == (0.1, 0.2, 0.3) and quick.preprocessing.crop == 0
    assert not torch.allclose(load_encoder(f"open_clip:tiny-clip@{path}").pooled(pixels), expected, atol=1e-3)
    save_modules(tmp_path / "model", {"encoder": quick})
    again = load_module(tmp_path / "model" / "encoder")
    assert torch.equal(again.pooled(pixels), quick.pooled(pixels))
    tokens = open_clip.get_tokenizer("tiny-clip")(["a door"], context_length=12)
    words = load_text_tower(f"open_clip:tiny-clip:openai@{path}")(["a door"])
    torch.testing.assert_close(words, theirs.encode_text(tokens), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("open_clip:ViT-B-32", "'open_clip:ViT-B-32:TAG', TAG one of openai, laion400m_e31"),
        ("open_clip:ViT-B-32:openia", "no weights 'openia' for 'ViT-B-32'; it has openai"),
        ("open_clip:ViT-B-33", "knows no model 'ViT-B-33'; did you mean 'ViT-B-32'"),
        ("open_clip:ViT-B-33@{folder}/x.pt", "did you mean 'ViT-B-32'"),
        ("open_clip:RN50@{folder}/x.pt", "expected a ViT"),
        ("open_clip:tiny-clip@{folder}/x.pt", "did not give 'tiny-clip' with"),
    ],
)
def test_what_open_clip_does_not_have_is_said(source: str, message: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"module.visual.conv1.weight": torch.zeros(1)}}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=message):
        load_encoder(source.format(folder=tmp_path))


def test_a_part_that_it_does_not_have_is_refused(tmp_path: Path) -> None:
    source = f"open_clip:tiny-clip@{saved(randomised('tiny-clip'), tmp_path / 'epoch_1.pt')}"
    assert isinstance(load_encoder(source, "target"), OpenClipEncoder)
    for part in ("context", "nonsense"):
        with pytest.raises(UserError, match=f"has one encoder; got part '{part}', expected none, or target"):
            load_encoder(source, part)


def test_a_size_it_was_not_made_for_is_refused() -> None:
    with pytest.raises(UserError, match=r"got \(40, 40\) pixels; 'tiny-clip' takes \(32, 32\)"):
        OpenClipEncoder("tiny-clip")(images(40))


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    tag = {"hf_hub": "nobody/nothing/", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny-clip", {"laion": tag})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"open_clip:tiny-clip@FILE"):
        load_encoder("open_clip:tiny-clip")
