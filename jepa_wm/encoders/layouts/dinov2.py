"""DINOv2: raw checkpoints, and the Hugging Face models with and without registers.

Source: facebookresearch/dinov2 (arXiv 2304.07193), registers (arXiv 2309.16588). Here the class token has its position
added once and for all. Tables are resampled for other sizes as each source does: the raw models without registers add
a tenth of a patch to the size they ask for, Hugging Face does not, and neither antialiases; with registers both do.
"""

import re
from typing import Any

import torch

from jepa_wm.encoders.pooling import ClassPool
from jepa_wm.encoders.positions import Learned
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import (
    activation,
    block_options,
    depth,
    embedding,
    fill,
    fused,
    halved,
    heads,
    renamed,
    square,
)
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State

RAW = (
    (r"^mask_token$|_head\.", None),
    # Blocks in chunks, as of training checkpoints, have two numbers: that of the chunk and their own.
    (r"^blocks\.\d+\.(?=\d+\.)", "blocks."),
)
HUGGING_FACE = (
    (r"^(classifier|pooler)\.", None),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.(cls_token|register_tokens|mask_token)$", r"\1"),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.(?:attention\.)?([qkv])(?:uery|ey|alue|_proj)\.", r".attn.\1."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.mlp\.up_proj\.", ".mlp.fc1_x."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)


def recognises(state: State, config: dict[str, Any]) -> bool:
    """Whether this is DINOv2: a class token, learned positions, scaled branches, and the token of masked patches."""
    if "model_type" in config:
        return config["model_type"] in ("dinov2", "dinov2_with_registers")
    names = {re.sub(r"^blocks\.\d+\.(?=\d+\.)", "blocks.", name) for name in state}
    return {"cls_token", "pos_embed", "mask_token", "blocks.0.ls1.gamma", "blocks.0.attn.qkv.weight"} <= names


def convert(state: State, config: dict[str, Any]) -> ViT:
    """Our `ViT` with DINOv2's weights."""
    published = "model_type" in config
    if published:
        config = {"num_attention_heads": 12} | config
        state = fused(renamed(state, HUGGING_FACE))
    state = halved(renamed(state, RAW))
    kernel, table = state.pop("patch_embed.proj.weight"), state.pop("pos_embed")[0]
    state["embed.weight"], state["embed.bias"] = embedding(kernel), state.pop("patch_embed.proj.bias")
    registers = state.pop("register_tokens", table.new_zeros(1, 0, table.shape[1]))[0]
    state["prefix_tokens"] = torch.cat([state.pop("cls_token")[0] + table[:1], registers])
    state["position_table"] = table[1:]
    dim, _, patch, _ = kernel.shape
    antialias = len(registers) > 0
    positions = Learned(square(len(table) - 1), antialias=antialias, offset=0.0 if published or antialias else 0.1)
    with torch.device("meta"):
        vit = ViT(
            patch=patch,
            dim=dim,
            depth=depth(state),
            heads=heads(config, dim, {width: width // 64 for width in (384, 768, 1024, 1536)}),
            block=block_options(state, config.get("layer_norm_eps", 1e-6), activation(config, "gelu")),
            positions=positions,
            prefix=len(state["prefix_tokens"]),
            pooling=ClassPool(),
            preprocessing=config.get("preprocessing") or Preprocessing(224, 0.875, "bicubic"),
        )
    return fill(state, "DINOv2", vit)
