"""I-JEPA: raw checkpoints, and the Hugging Face model.

Source: facebookresearch/ijepa (arXiv 2301.08243). Its positions are a fixed table, kept in the file; here they are
computed, for any grid. A table that was trained on is kept, and resampled as Hugging Face does.
"""

from typing import Any

import torch

from jepa_wm.encoders.positions import Learned, Positions, SinCos
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import activation, block_options, depth, embedding, fill, fused, heads, renamed, square
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
"""By width, tiny to giant; V-JEPA 2's giant has 22."""

HUGGING_FACE = (
    (r"^(pooler|classifier)\.|mask_token$", None),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^(?:encoder\.layer|layers)\.", "blocks."),
    (r"\.attention\.(?:attention\.)?([qkv])(?:uery|ey|alue|_proj)\.", r".attn.\1."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^layernorm\.", "norm."),
)


def recognises(state: State, config: dict[str, Any]) -> bool:
    """Whether this is I-JEPA: patches of images, positions, fused queries, keys and values, and no class token."""
    if "model_type" in config:
        return config["model_type"] == "ijepa"
    kernel, more = state.get("patch_embed.proj.weight"), {"cls_token", "blocks.0.ls1.gamma", "attn_pool.latent"}
    if kernel is None or kernel.ndim != 4 or more & state.keys():
        return False
    return {"pos_embed", "blocks.0.attn.qkv.weight"} <= state.keys()


def convert(state: State, config: dict[str, Any]) -> ViT:
    """Our `ViT` with I-JEPA's weights."""
    state = fused(renamed(state, HUGGING_FACE)) if "model_type" in config else dict(state)
    kernel, table = state.pop("patch_embed.proj.weight"), state.pop("pos_embed")[0]
    state["embed.weight"], state["embed.bias"] = embedding(kernel), state.pop("patch_embed.proj.bias")
    dim, grid = kernel.shape[0], square(len(table))
    positions: Positions = SinCos(axes=2)
    if not torch.allclose(SinCos(axes=2).additive(grid, dim), table.float(), atol=1e-3):
        if "model_type" not in config:
            raise UserError("pos_embed is not I-JEPA's table of sines and cosines; of a timm model? 'timm:NAME@FILE'")
        positions, state["position_table"] = Learned(grid, antialias=False), table
    eps = config.get("layer_norm_eps", 1e-12) if "model_type" in config else 1e-6
    patch = kernel.shape[-1]
    with torch.device("meta"):
        vit = ViT(
            patch=patch,
            dim=dim,
            depth=depth(state),
            heads=heads({"num_attention_heads": 12} | config if "model_type" in config else config, dim, HEADS),
            block=block_options(state, eps, activation(config, "gelu")),
            positions=positions,
            preprocessing=config.get("preprocessing") or Preprocessing(patch * grid[1], 0.875, "bilinear"),
        )
    return fill(state, "I-JEPA", vit)
