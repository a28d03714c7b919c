"""Golden numbers of V-JEPA 2: one training step of facebookresearch/vjepa2, without the optimiser, in float64.

It builds a small VisionTransformer and VisionTransformerPredictor with RoPE from the reference's src/models in their
MultiSeqWrapper and PredictorMultiSeqWrapper, fills them by formula, and does what train_step() of app/vjepa/train.py
does: layer-normed targets, L1 per mask, the mean over masks, gradients. It does so

* as published, where the rotation repeats its frequencies ("numbers"),
* with the rotation that a note in src/models/utils/modules.py gives as the correct one ("numbers_interleaved"), and
* as published with heads 16 wide, whose last 4 channels are not rotated ("numbers_partial").

Apart from that step: encoder outputs of whole clips, of a shorter and larger clip, and of the image model.
"""

import contextlib
import inspect

import torch
import torch.nn.functional as F
from formula import checks, normalised, permutations, pixels, rounded
from reference import gradient_norms, how, set_parameters, source, stub, write

BATCH, FRAMES, SIDE, PATCH = 2, 8, 48, 8
CLIP = {"img_size": (SIDE, SIDE), "patch_size": PATCH, "num_frames": FRAMES, "tubelet_size": 2, "use_rope": True}
CONFIG = {
    "encoder": {"embed_dim": 48, "depth": 3, "num_heads": 4, "mlp_ratio": 4, "use_sdpa": True},
    "predictor": {
        "predictor_embed_dim": 24,
        "depth": 2,
        "num_heads": 2,
        "use_mask_tokens": True,
        "num_mask_tokens": 2,
        "zero_init_mask_tokens": False,
    },
}
PARTIAL = {
    "encoder": {**CONFIG["encoder"], "num_heads": 3},
    "predictor": {**CONFIG["predictor"], "predictor_embed_dim": 32},
}


def clips(name: str, frames: int = FRAMES, side: int = SIDE) -> torch.Tensor:
    return normalised(pixels(name, (BATCH, 3, frames, side, side)))


def build(config: dict[str, dict[str, object]]):
    from src.models.predictor import vit_predictor
    from src.models.vision_transformer import VisionTransformer
    from src.utils.wrappers import MultiSeqWrapper, PredictorMultiSeqWrapper

    def encoder(**changes):
        shape = {**CLIP, **config["encoder"], **changes}
        return VisionTransformer(qkv_bias=True, norm_layer=lambda d: torch.nn.LayerNorm(d, eps=1e-6), **shape)

    models = {"encoder": MultiSeqWrapper(encoder()), "target_encoder": MultiSeqWrapper(encoder())}
    width = config["encoder"]["embed_dim"]
    predictor = vit_predictor(embed_dim=width, **CLIP, **config["predictor"])
    models["predictor"] = PredictorMultiSeqWrapper(predictor)
    models["image_encoder"] = encoder(num_frames=1)
    parameters = {part: set_parameters(getattr(m, "backbone", m), f"{part}.") for part, m in models.items()}
    return models, parameters


def step(models, inputs, masks_enc, masks_pred) -> dict[str, object]:
    """One step on groups of clips (``[group]``) with masks (``[group][mask]``)."""
    from src.masks.utils import apply_masks

    for model in models.values():
        model.zero_grad()
    with torch.no_grad():
        h = [F.layer_norm(x, (x.size(-1),)) for x in models["target_encoder"](inputs)]
        h = [apply_masks(x, m, concat=False) for x, m in zip(h, masks_pred, strict=True)]
    context = models["encoder"](inputs, masks_enc)
    z = models["predictor"](context, masks_enc, masks_pred)
    pairs = [(zij, hij) for zi, hi in zip(z, h, strict=True) for zij, hij in zip(zi, hi, strict=True)]
    loss = sum(torch.mean(torch.abs(zij - hij)) for zij, hij in pairs) / len(pairs)
    loss.backward()
    return {
        "encoder(clips, masks)": [
            checks(f"context.{i}", x) for i, x in enumerate(x for group in context for x in group)
        ],
        "targets": [checks(f"targets.{i}", y) for i, (_, y) in enumerate(pairs)],
        "predictions": [checks(f"predictions.{i}", x) for i, (x, _) in enumerate(pairs)],
        "loss": rounded(loss),
        "gradient_norms": {part: gradient_norms(models[part].backbone) for part in ("encoder", "predictor")},
    }


def whole(models) -> dict[str, object]:
    """Encoder outputs without masks."""
    encoder = models["encoder"].backbone
    short = clips("vjepa2.short", frames=4, side=64)
    image = normalised(pixels("vjepa2.image", (BATCH, 3, SIDE, SIDE)))
    return {
        "encoder(clips)": checks("encoder(clips)", encoder(clips("vjepa2.clips"))),
        "encoder(clips).mean(1)": checks("encoder(clips).mean(1)", encoder(clips("vjepa2.clips")).mean(dim=1)),
        "encoder(short)": checks("encoder(short)", encoder(short)),
        "encoder(still)": checks("encoder(still)", encoder(image.unsqueeze(2).repeat(1, 1, 2, 1, 1))),
        "image_encoder(image)": checks("image_encoder(image)", models["image_encoder"](image)),
    }


def interleaved(modules):
    """The published rotation with its two lines replaced as the note above them says."""
    text = inspect.getsource(modules.rotate_queries_or_keys)
    for x in ("emb_sin", "emb_cos"):
        text = text.replace(f"{x} = {x}.squeeze(-1).repeat(1, 1, 1, 2)", f"{x} = {x}.repeat_interleave(2, dim=-1)", 1)
    assert ".squeeze(-1)" not in text
    scope = dict(vars(modules))
    exec(text, scope)
    return scope["rotate_queries_or_keys"]


def main() -> None:
    folder = source(__doc__)
    stub("timm.models.layers", drop_path=None)
    stub("einops", rearrange=None)
    torch.backends.cuda.sdp_kernel = contextlib.nullcontext  # it chooses among CUDA kernels
    from src.models.utils import modules

    tokens = FRAMES // 2 * (SIDE // PATCH) ** 2
    orders = [permutations(f"vjepa2.masks.{i}", BATCH, tokens) for i in range(2)]
    kept = [(40, 104), (24, 90)]  # context and target tokens; the second pair leaves 30 out
    masks_enc = [[order[:, :n].sort(dim=1).values for order, (n, _) in zip(orders, kept, strict=True)]]
    masks_pred = [[order[:, n : n + m].sort(dim=1).values for order, (n, m) in zip(orders, kept, strict=True)]]

    models, parameters = build(CONFIG)
    numbers = {**step(models, [clips("vjepa2.clips")], masks_enc, masks_pred), **whole(models)}

    order = permutations("vjepa2.masks.half", BATCH, tokens // 2)
    half = [order[:, :16].sort(dim=1).values], [order[:, 16:].sort(dim=1).values]
    groups = [clips("vjepa2.clips"), clips("vjepa2.half", frames=FRAMES // 2)]
    numbers_groups = step(models, groups, [*masks_enc, half[0]], [*masks_pred, half[1]])

    published = modules.rotate_queries_or_keys
    modules.rotate_queries_or_keys = interleaved(modules)
    numbers_interleaved = {**step(models, [clips("vjepa2.clips")], masks_enc, masks_pred), **whole(models)}
    modules.rotate_queries_or_keys = published

    models, parameters_partial = build(PARTIAL)
    numbers_partial = {**step(models, [clips("vjepa2.clips")], masks_enc, masks_pred), **whole(models)}
    for part, shapes in parameters_partial.items():
        parameters_partial[part] = {k: v for k, v in shapes.items() if parameters[part][k] != v}

    write(
        "vjepa2",
        {
            "how": how(
                folder,
                "facebookresearch/vjepa2",
                """Parameters: formula("encoder." + name, shape) and so on; names are the backbones', without wrapper
                prefixes. Inputs: normalised(pixels(name, shape)). The mask token is the one at the index of the group
                of clips, not of the mask: with one group all masks use mask_tokens.0 and mask_tokens.1 has a zero
                gradient or none. numbers_groups: a second group of 4-frame clips, which uses mask_tokens.1; the loss
                is the mean over all three (group, mask) pairs. numbers_interleaved: the corrected rotation.
                numbers_partial: config_partial, published rotation; parameters_partial lists the shapes that differ.
                The image encoder (num_frames 1, Conv2d) is another model than the encoder; encoder(still) is the
                image as two equal frames.""",
            ),
            "config": {"clip": CLIP, **CONFIG},
            "config_partial": PARTIAL,
            "parameters": parameters,
            "parameters_partial": parameters_partial,
            "inputs": {
                "clips": {"pixels": "vjepa2.clips", "shape": [BATCH, 3, FRAMES, SIDE, SIDE]},
                "half": {"pixels": "vjepa2.half", "shape": [BATCH, 3, FRAMES // 2, SIDE, SIDE]},
                "short": {"pixels": "vjepa2.short", "shape": [BATCH, 3, 4, 64, 64]},
                "image": {"pixels": "vjepa2.image", "shape": [BATCH, 3, SIDE, SIDE]},
                "masks_enc": [m.tolist() for m in masks_enc[0]],
                "masks_pred": [m.tolist() for m in masks_pred[0]],
                "half_masks_enc": [m.tolist() for m in half[0]],
                "half_masks_pred": [m.tolist() for m in half[1]],
            },
            "numbers": numbers,
            "numbers_groups": numbers_groups,
            "numbers_interleaved": numbers_interleaved,
            "numbers_partial": numbers_partial,
        },
    )


if __name__ == "__main__":
    main()
