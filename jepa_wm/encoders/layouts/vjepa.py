"""V-JEPA: raw checkpoints of V-JEPA 1, 2 and 2.1, and the Hugging Face model of V-JEPA 2.

Source: facebookresearch/jepa (arXiv 2404.08471) and facebookresearch/vjepa2 (arXiv 2506.09985, 2603.14482). One and
two have the same names. Two turns queries and keys, and has no need of the table of positions that its released files
still carry; so the table is believed unless it has the size of theirs.
"""

from typing import Any

import torch
from torch import Tensor

from jepa_wm.encoders.positions import Positions, Rope, SinCos
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import activation, block_options, depth, embedding, fill, fused, heads, renamed
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError

HEADS_1 = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1664: 16}
HEADS_2 = HEADS_1 | {1408: 22, 1664: 26}
"""By width."""

ROPE_TABLES = {8 * 16 * 16: 256, 32 * 16 * 16: 256, 32 * 24 * 24: 384}
"""Sizes of the tables that V-JEPA 2's released files carry without use (16 or 64 frames), and the pixels they mean."""

LEVELS = {12: (2, 5, 8), 24: (5, 11, 17), 40: (9, 19, 29), 48: (11, 23, 37)}
"""Blocks whose output V-JEPA 2.1 normalises, too, beside that of the last; by their number."""

SQUEEZED = {14: 252 // 14, 16: 256 // 16}
"""Patches a side that V-JEPA 2.1 squeezes positions onto, by the side of a patch."""

HUGGING_FACE = (
    (r"^(pooler|classifier|predictor)\.", None),
    (r"^encoder\.embeddings\.patch_embeddings\.", "patch_embed."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.([qkv])(?:uery|ey|alue)\.", r".attn.\1."),
    (r"\.attention\.proj\.", ".attn.proj."),
    (r"^encoder\.layernorm\.", "norm."),
)


def recognises(state: State, config: dict[str, Any]) -> bool:
    """Whether this is a V-JEPA: patches that span frames."""
    if "model_type" in config:
        return config["model_type"] == "vjepa2"
    kernel = state.get("patch_embed.proj.weight")
    return kernel is not None and kernel.ndim == 5 and "blocks.0.attn.qkv.weight" in state


def convert(state: State, config: dict[str, Any]) -> ViT:
    """Our `ViT` with V-JEPA's weights."""
    if "model_type" in config:
        state = fused(renamed(state, HUGGING_FACE))
        defaults = {"num_attention_heads": 16, "layer_norm_eps": 1e-6, "crop_size": 256}
        return _build(state, defaults | config, Rope(tiled=True), (), (defaults | config)["crop_size"])
    state = dict(state)
    table, patch = state.pop("pos_embed", None), state["patch_embed.proj.weight"].shape[-1]
    blocks = depth(state)
    if "norms_block.0.weight" in state:
        levels = LEVELS.get(blocks) or _levels(state, blocks)
        for i in range(len(levels)):
            _move(state, f"norms_block.{i}.", f"level_norms.{i}.")
        _move(state, f"norms_block.{len(levels)}.", "norm.")
        rope = Rope(pretrained=SQUEEZED.get(patch, 256 // patch))
        return _build(_modalities(state), config, rope, levels, 384)
    if table is None or table.shape[1] in ROPE_TABLES:
        size = 256 if table is None else ROPE_TABLES[table.shape[1]]
        return _build(state, config, Rope(tiled=True), (), size)
    return _build(state, config, SinCos(axes=3), (), _side(table[0]) * patch)


def _build(state: State, config: dict[str, Any], positions: Positions, levels: tuple[int, ...], size: int) -> ViT:
    kernel = state.pop("patch_embed.proj.weight")
    state["embed.weight"], state["embed.bias"] = embedding(kernel), state.pop("patch_embed.proj.bias")
    dim, _, tubelet, patch, _ = kernel.shape
    with torch.device("meta"):
        vit = ViT(
            patch=patch,
            tubelet=tubelet,
            dim=dim,
            depth=depth(state),
            heads=heads(config, dim, HEADS_1 if isinstance(positions, SinCos) else HEADS_2),
            block=block_options(state, config.get("layer_norm_eps", 1e-6), activation(config, "gelu")),
            positions=positions,
            preprocessing=config.get("preprocessing") or Preprocessing(size, 0.875, "bilinear"),
            modalities="modality" in state,
            levels=levels,
        )
    return fill(state, "V-JEPA", vit)


def _modalities(state: State) -> State:
    """V-JEPA 2.1's embedding of images, and its vectors for images and clips, by our names."""
    if "patch_embed_img.proj.weight" in state:
        state["image_embed.weight"] = embedding(state.pop("patch_embed_img.proj.weight"))
        state["image_embed.bias"] = state.pop("patch_embed_img.proj.bias")
        both = [state.pop(f"{kind}_mod_embed") for kind in ("img", "video")]
        state["modality"] = torch.cat(both, dim=1)[0]
    return state


def _levels(state: State, blocks: int) -> tuple[int, ...]:
    """Of an unpublished depth: the levels spread evenly, as the published ones up to 40 blocks."""
    norms = sum(name.startswith("norms_block.") and name.endswith(".weight") for name in state)
    if blocks % norms:
        raise UserError(f"{blocks} blocks with {norms} levels; expected one of {', '.join(map(str, LEVELS))} blocks")
    return tuple(blocks * level // norms - 1 for level in range(1, norms))


def _move(state: State, old: str, new: str) -> None:
    for kind in ("weight", "bias"):
        state[new + kind] = state.pop(old + kind)


def _side(table: Tensor) -> int:
    """Patches a side that a fixed table (N, D) is for: it says where the second frame begins.

    Raises:
        UserError: if it is not the table of V-JEPA 1.
    """
    frame = int((table[:, 0] != table[0, 0]).float().argmax()) or len(table)
    side = round(frame**0.5)
    grid = len(table) // frame, side, side
    if side * side * grid[0] != len(table) or not torch.allclose(
        SinCos(axes=3).additive(grid, table.shape[1]), table.float(), atol=1e-3
    ):
        raise UserError(f"pos_embed {tuple(table.shape)} is not V-JEPA 1's table of sines and cosines")
    return side
