"""V-JEPA 2.1, of which no registry has an implementation: against a forward pass written here.

Names as the official code saves them (facebookresearch/vjepa2, app/vjepa_2_1).
"""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from formula import fill, pixels
from torch import Tensor

from jepa_wm.encoders import ViT, load_encoder
from jepa_wm.errors import UserError

DIM, HEADS, DEPTH, PATCH = 32, 2, 12, 16
MEAN, STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def shapes() -> dict[str, tuple[int, ...]]:
    found = {f"{kind}_mod_embed": (1, 1, DIM) for kind in ("img", "video")}
    for name, frames in (("patch_embed", 2), ("patch_embed_img", 1)):
        found |= {f"{name}.proj.weight": (DIM, 3, frames, PATCH, PATCH), f"{name}.proj.bias": (DIM,)}
    linear = {"attn.qkv": (3 * DIM, DIM), "attn.proj": (DIM, DIM), "mlp.fc1": (4 * DIM, DIM), "mlp.fc2": (DIM, 4 * DIM)}
    norms = [f"norms_block.{level}" for level in range(4)]
    for block in range(DEPTH):
        for name, shape in linear.items():
            found |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
        norms += [f"blocks.{block}.norm1", f"blocks.{block}.norm2"]
    return found | {f"{norm}.{kind}": (DIM,) for norm in norms for kind in ("weight", "bias")}


def turned(x: Tensor, places: Tensor) -> Tensor:
    """Neighbouring channels (…, N, 2 F) turned by places (N,) at F frequencies, as complex numbers."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    frequencies = 10000.0 ** -(torch.arange(pairs.shape[-1], dtype=torch.float64) / pairs.shape[-1])
    return torch.view_as_real(pairs * torch.exp(1j * places[:, None] * frequencies)).flatten(-2)


def rotated(x: Tensor, places: tuple[Tensor, ...]) -> Tensor:
    """A third of the channels turned by each of time, row and column; what three even parts leave over stays."""
    time, row, column, rest = x.split([4, 4, 4, DIM // HEADS - 12], dim=-1)
    parts = [turned(part, place) for part, place in zip((time, row, column), places, strict=True)]
    return torch.cat([*parts, rest], dim=-1)


def expected(state: dict[str, Tensor], clips: Tensor) -> list[Tensor]:
    """The four levels of clips uint8 (B, T, 3, H, W)."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (DIM,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    mean, std = (torch.tensor(x, dtype=torch.float64)[:, None, None, None] for x in (MEAN, STD))
    x = (clips.transpose(1, 2).double() / 255 - mean) / std
    embed, mode = ("patch_embed_img", "img") if clips.shape[1] == 1 else ("patch_embed", "video")
    kernel = state[f"{embed}.proj.weight"]
    x = F.conv3d(x, kernel, state[f"{embed}.proj.bias"], stride=kernel.shape[2:])
    sizes = x.shape[2:]
    place = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in sizes), indexing="ij")
    time, row, column = (axis.flatten() for axis in place)
    row, column = row * 15 / (sizes[1] - 1), column * 15 / (sizes[2] - 1)
    x, levels = x.flatten(2).transpose(1, 2) + state[f"{mode}_mod_embed"], []
    for block in range(DEPTH):
        qkv = linear(norm(x, f"blocks.{block}.norm1"), f"blocks.{block}.attn.qkv")
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        q, k = (rotated(part, (time, row, column)) for part in (q, k))
        attention = (q @ k.transpose(-1, -2) / (DIM // HEADS) ** 0.5).softmax(-1)
        x = x + linear((attention @ v).transpose(1, 2).flatten(2), f"blocks.{block}.attn.proj")
        hidden = F.gelu(linear(norm(x, f"blocks.{block}.norm2"), f"blocks.{block}.mlp.fc1"))
        x = x + linear(hidden, f"blocks.{block}.mlp.fc2")
        if block in (2, 5, 8, 11):
            levels.append(norm(x, f"norms_block.{len(levels)}"))
    return levels


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return fill(shapes(), "vjepa21.")


def saved(path: Path, key: str, state: dict[str, Tensor]) -> ViT:
    wrapped = {f"module.backbone.{name}": value for name, value in state.items()}
    torch.save({key: wrapped, "encoder": {name: 0 * value for name, value in wrapped.items()}, "epoch": 3}, path)
    return load_encoder(str(path), heads=HEADS)


@pytest.mark.parametrize("key", ["ema_encoder", "target_encoder"])
@pytest.mark.parametrize("shape", [(4, 64, 64), (6, 48, 80), (1, 64, 64)], ids=["clip", "oblong", "image"])
@torch.no_grad()
def test_clips_and_images_at_any_size(key: str, shape: tuple, state: dict[str, Tensor], tmp_path: Path) -> None:
    vit = saved(tmp_path / "vjepa2_1.pt", key, state)
    frames, height, width = shape
    clips = pixels("vjepa21.clips", (2, frames, 3, height, width))
    encoded = vit.encode(clips)
    for found, level in zip([*encoded.levels, encoded.patches], expected(state, clips), strict=True):
        torch.testing.assert_close(found, level, rtol=1e-5, atol=1e-6)
    if frames == 1:
        torch.testing.assert_close(vit(clips[:, 0]), encoded.patches)
    keep = torch.stack([torch.randperm(encoded.patches.shape[1]) for _ in range(2)])
    full = encoded.patches.gather(1, keep[..., None].expand_as(encoded.patches))
    torch.testing.assert_close(vit(clips, keep), full)
    assert vit.source == f"vjepa2_1.pt: {key} (V-JEPA layout)" and vit.levels == (2, 5, 8)


def test_the_levels_of_all_published_depths(tmp_path: Path) -> None:
    from jepa_wm.encoders.layouts.vjepa import LEVELS, _levels

    state = {f"norms_block.{level}.weight": torch.zeros(1) for level in range(4)}
    for blocks in (12, 24, 40):
        assert _levels(state, blocks) == LEVELS[blocks]
    with pytest.raises(UserError, match="13 blocks with 4 levels"):
        _levels(state, 13)
