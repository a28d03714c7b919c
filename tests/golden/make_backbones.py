"""Golden numbers of the encoders of DINOv2 and DINOv3, from their official code, in float64.

It builds small ones of each kind that was released (plain and gated MLPs, with registers and without; of DINOv3 with
and without biases of queries and values), fills them by formula, and runs forward_features() at the size they were made
for and at another. --source is the folder that holds the work trees dinov2 and dinov3.
"""

import os
import sys
from pathlib import Path
from unittest.mock import MagicMock

import torch
from formula import checks, normalised, pixels
from reference import how, set_parameters, source, stub, write
from torch import nn

SHAPE = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "img_size": 48}
SIDES = (48, 72)
DINOV2 = {
    "plain": {},
    "gated": {"ffn_layer": "swiglufused"},
    "chunks": {"block_chunks": 2},
    "registers": {"num_register_tokens": 4, "interpolate_antialias": True, "interpolate_offset": 0.0},
}
DINOV3 = {
    "plain": {"qkv_bias": True},
    "gated": {"qkv_bias": True, "ffn_layer": "swiglu", "ffn_ratio": 6},
    "biasless": {"qkv_bias": False, "ffn_layer": "swiglu64", "ffn_ratio": 3, "untie_global_and_local_cls_norm": True},
}
DINOV3_SHAPE = {
    "layerscale_init": 1e-5,
    "norm_layer": "layernormbf16",
    "n_storage_tokens": 4,
    "mask_k_bias": True,
    "pos_embed_rope_dtype": "fp32",
    "pos_embed_rope_rescale_coords": 2,
}


def numbers(name: str, model: nn.Module) -> dict[str, object]:
    found = {}
    for side in SIDES:
        tokens = model.forward_features(normalised(pixels(f"{name}.{side}", (2, 3, side, side))))
        parts = {key: value for key, value in tokens.items() if key.startswith("x_") and key != "x_prenorm"}
        found[str(side)] = {key: checks(f"{name}.{key}", value) for key, value in parts.items() if value.numel()}
    return found


def main() -> None:
    folder = source(__doc__)
    os.environ["XFORMERS_DISABLED"] = "1"
    for name in ("termcolor", "fvcore", "iopath"):
        stub(name, __getattr__=MagicMock())
    content: dict[str, dict] = {"parameters": {}, "buffers": {}, "numbers": {}}

    def add(name: str, model: nn.Module) -> None:
        model = model.eval()
        content["parameters"][name] = set_parameters(model, f"{name}.")
        content["buffers"][name] = {key: value.tolist() for key, value in model.named_buffers() if "periods" in key}
        content["numbers"][name] = numbers(name, model)

    sys.path[0] = str(folder / "dinov2")
    from dinov2.models.vision_transformer import DinoVisionTransformer as DINOv2

    for kind, options in DINOV2.items():
        chunks = {"block_chunks": 0} | options
        add(f"dinov2.{kind}", DINOv2(init_values=1.0, **SHAPE, **chunks))

    sys.path[0] = str(folder / "dinov3")
    from dinov3.models.vision_transformer import DinoVisionTransformer as DINOv3

    for kind, options in DINOV3.items():
        model = DINOv3(**SHAPE, **DINOV3_SHAPE, **options)
        model.init_weights()
        model.rope_embed.dtype = torch.float64  # otherwise queries and keys are turned in float32
        add(f"dinov3.{kind}", model)

    record = how(
        folder / "dinov2",
        "facebookresearch/{dinov2,dinov3}",
        """Parameters: formula(model + "." + name, shape), model being "dinov2.plain" and so on. Inputs:
        normalised(pixels(model + "." + side, [2, 3, side, side])). Not in parameters: DINOv3's
        blocks.*.attn.qkv.bias_mask, 0 for the middle third and 1 otherwise; its rope_embed.periods are in buffers.
        DINOv3's rotations are computed in float64.""",
    )
    trees = ("dinov2", "dinov3")
    record["commit"] = ", ".join(f"{x} {how(Path(folder) / x, '', '')['commit']}" for x in trees)
    write("backbones", {"how": record, "config": {"shape": SHAPE, "dinov3": DINOV3_SHAPE}, **content})


if __name__ == "__main__":
    main()
