"""ViT: the Hugging Face model, and what world models are trained with its code.

Source: Dosovitskiy et al. 2021 (arXiv 2010.11929), transformers' `ViTModel`. Here the class token has its position
added once and for all.
"""

from typing import Any

import torch

from jepa_wm.encoders.layouts.ijepa import HEADS, HUGGING_FACE
from jepa_wm.encoders.pooling import ClassPool
from jepa_wm.encoders.positions import Learned
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import activation, block_options, depth, embedding, fill, fused, heads, renamed, square
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State

TABLE = ((r"^(?:embeddings\.)?mask_token$", None), (r"^embeddings\.cls_token$", "cls_token"), *HUGGING_FACE)
HALVES = (0.5, 0.5, 0.5)


def recognises(state: State, config: dict[str, Any]) -> bool:
    """Whether this is a ViT: its names without a config are others', too."""
    return config.get("model_type") == "vit"


def convert(state: State, config: dict[str, Any]) -> ViT:
    """Our `ViT` with these weights; `config` may have a pooling, whose weights are `pool.…`."""
    state = fused(renamed(state, TABLE))
    kernel, table = state.pop("patch_embed.proj.weight"), state.pop("pos_embed")[0]
    state["embed.weight"], state["embed.bias"] = embedding(kernel), state.pop("patch_embed.proj.bias")
    state["prefix_tokens"], state["position_table"] = state.pop("cls_token")[0] + table[:1], table[1:]
    dim, _, patch, _ = kernel.shape
    grid = square(len(table) - 1)
    with torch.device("meta"):
        vit = ViT(
            patch=patch,
            dim=dim,
            depth=depth(state),
            heads=heads(config, dim, HEADS),
            block=block_options(state, config.get("layer_norm_eps", 1e-12), activation(config, "gelu")),
            positions=Learned(grid, antialias=False),
            prefix=1,
            pooling=config.get("pooling") or ClassPool(),
            preprocessing=config.get("preprocessing")
            or Preprocessing(patch * grid[1], 0.0, "bilinear", HALVES, HALVES),
        )
    return fill(state, "ViT", vit)
