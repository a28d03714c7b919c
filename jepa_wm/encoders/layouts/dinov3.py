"""DINOv3: raw checkpoints, and the Hugging Face model.

Source: facebookresearch/dinov3 (arXiv 2508.10104). Keys have no bias: released files mask it, and Hugging Face leaves
it out; here it is 0. Periods of the rotation are in the file and must be geometric. Numbers of heads come from them.
Those of satellite pictures differ from the others in colours alone, and are known by "sat493m" in their name.
"""

from typing import Any

import torch
from torch import Tensor

from jepa_wm.encoders.pooling import ClassPool
from jepa_wm.encoders.positions import CentredRope
from jepa_wm.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from jepa_wm.encoders.renaming import activation, block_options, depth, embedding, fill, fused, heads, renamed
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError

SATELLITE_MEAN, SATELLITE_STD = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)

RAW = (
    (r"^mask_token$|^local_cls_norm\.|_head\.|\.bias_mask$", None),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
HUGGING_FACE = (
    (r"^embeddings\.mask_token$|inv_freq$", None),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "storage_tokens"),
    (r"^(?:model\.)?layer\.", "blocks."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)


def recognises(state: State, config: dict[str, Any]) -> bool:
    """Whether this is DINOv3: a class token, and periods of a rotation."""
    if "model_type" in config:
        return config["model_type"] == "dinov3_vit"
    return {"cls_token", "rope_embed.periods", "patch_embed.proj.weight"} <= state.keys()


def convert(state: State, config: dict[str, Any]) -> ViT:
    """Our `ViT` with DINOv3's weights."""
    if "model_type" in config:
        config = {"num_attention_heads": 6, "rope_theta": 100.0} | config
        up = ".mlp.fc1_x." if config.get("use_gated_mlp") else ".mlp.fc1."
        state = fused(renamed(state, (*HUGGING_FACE, (r"\.mlp\.up_proj\.", up))))
    else:
        state, config = _masked(state), config | {"rope_theta": _base(state["rope_embed.periods"])}
        quarter, dim = len(state.pop("rope_embed.periods")), state["cls_token"].shape[-1]
        config["num_attention_heads"] = dim // (4 * quarter)
    kernel, cls = state.pop("patch_embed.proj.weight"), state.pop("cls_token")[0]
    state["embed.weight"], state["embed.bias"] = embedding(kernel), state.pop("patch_embed.proj.bias")
    state["prefix_tokens"] = torch.cat([cls, state.pop("storage_tokens", cls[None, :0])[0]])
    block = block_options(state, config.get("layer_norm_eps", 1e-5))
    if block.mlp == "swiglu" and activation(config, "silu") != "swiglu":
        raise UserError(f"config.json: hidden_act is '{config['hidden_act']}' of a gated MLP; expected 'silu'")
    dim, _, patch, _ = kernel.shape
    with torch.device("meta"):
        vit = ViT(
            patch=patch,
            dim=dim,
            depth=depth(state),
            heads=heads(config, dim, {}),
            block=block,
            positions=CentredRope(config["rope_theta"]),
            prefix=len(state["prefix_tokens"]),
            pooling=ClassPool(),
            preprocessing=config.get("preprocessing") or _preprocessing(config.get("name", "")),
        )
    return fill(state, "DINOv3", vit)


def _preprocessing(name: str) -> Preprocessing:
    """What is published for a file of this name."""
    colours = (SATELLITE_MEAN, SATELLITE_STD) if "sat493m" in name.lower() else (IMAGENET_MEAN, IMAGENET_STD)
    return Preprocessing(256, 0.0, "bilinear", *colours)


def _masked(state: State) -> State:
    """A raw state with our names, the bias of keys masked to 0; one without biases gets zeros."""
    found = renamed(state, RAW)
    for name, weight in state.items():
        if name.endswith(".attn.qkv.weight"):
            bias = name.removesuffix("weight") + "bias"
            value = state.get(bias, weight.new_zeros(len(weight)))
            mask = state.get(bias + "_mask", torch.ones_like(value))
            found[bias] = torch.where(mask.bool(), value, torch.zeros_like(value))
    return found


def _base(periods: Tensor) -> float:
    """The ratio of the slowest to the fastest rotation that geometric periods are of.

    Raises:
        UserError: if they are not geometric.
    """
    quarter = len(periods)
    exponent = torch.arange(quarter, dtype=torch.float64) / quarter
    base = round(float(periods[-1].double() ** (1 / exponent[-1])), 1) if quarter > 1 else 100.0
    if not torch.allclose(base**exponent, periods.double(), rtol=0.01):
        raise UserError(f"rope_embed.periods are not powers of one base: {periods.tolist()}")
    return base
