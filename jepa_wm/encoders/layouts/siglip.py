"""SigLIP: the vision towers of the Hugging Face models SigLIP and SigLIP 2.

Source: big_vision (arXiv 2303.15343, 2502.14786) by way of Hugging Face. Of SigLIP 2 those of one size are saved as
SigLIP is; those of any size ("naflex") embed patches in the order row, column, colour, and have a table of 16 x 16.
"""

from typing import Any

import torch

from jepa_wm.encoders.pooling import AttentionPool, MeanPool, Pooling
from jepa_wm.encoders.positions import Learned
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import activation, block_options, depth, embedding, fill, fused, heads, renamed, square
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State

ANY_SIZE = ("siglip2", "siglip2_vision_model")
HALF = (0.5, 0.5, 0.5)

HUGGING_FACE = (
    (r"^(text_model|classifier)\.|^logit_(scale|bias)$|position_ids$", None),
    (r"^embeddings\.patch_embedding\.", "embed."),
    (r"^embeddings\.position_embedding\.weight$", "position_table"),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"^post_layernorm\.", "norm."),
    (r"^head\.probe$", "pool.latent"),
    (r"^head\.attention\.out_proj\.", "pool.proj."),
    (r"^head\.attention\.in_proj_(weight|bias)$", r"pool.in.\1"),
    (r"^head\.layernorm\.", "pool.norm."),
    (r"^head\.mlp\.", "pool.mlp."),
)


def recognises(state: State, config: dict[str, Any]) -> bool:
    """Whether this is SigLIP: the config says so."""
    return config.get("model_type") in ("siglip", "siglip_vision_model", *ANY_SIZE)


def convert(state: State, config: dict[str, Any]) -> ViT:
    """Our `ViT` with SigLIP's weights; one latent is made by attention, where the model has that head."""
    tower = {"num_attention_heads": 12, "patch_size": 16} | config.get("vision_config", config)
    state = fused(renamed(state, HUGGING_FACE))
    dim = len(state["embed.weight"])
    grid, number = square(len(state["position_table"])), heads(tower, dim, {})
    any_size = config["model_type"] in ANY_SIZE
    kernel = state["embed.weight"]
    patch = tower["patch_size"] if any_size else kernel.shape[-1]
    state["embed.weight"] = embedding(kernel.unflatten(1, (patch, patch, 3)).movedim(-1, 1) if any_size else kernel)
    pooling: Pooling = MeanPool()
    if "pool.latent" in state:
        for kind in ("weight", "bias"):
            both = state.pop(f"pool.in.{kind}")
            state[f"pool.q.{kind}"], state[f"pool.kv.{kind}"] = both[:dim], both[dim:]
        pooling = AttentionPool(number, len(state["pool.mlp.fc1.bias"]) / dim, tower.get("layer_norm_eps", 1e-6))
    side = patch * grid[1]
    preprocessing = config.get("preprocessing") or Preprocessing(side, 0.0, "bicubic", HALF, HALF)
    # So400m's patches of 14 do not divide 384; the pixels left over are never seen.
    preprocessing.size -= preprocessing.size % patch
    with torch.device("meta"):
        vit = ViT(
            patch=patch,
            dim=dim,
            depth=depth(state),
            heads=number,
            block=block_options(state, tower.get("layer_norm_eps", 1e-6), activation(tower, "gelu_pytorch_tanh")),
            positions=Learned(grid, antialias=any_size, mode="bilinear" if any_size else "bicubic"),
            pooling=pooling,
            preprocessing=preprocessing,
        )
    return fill(state, "SigLIP", vit)
