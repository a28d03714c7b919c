"""Golden numbers of I-JEPA: one training step of facebookresearch/ijepa, without the optimiser, in float64.

It builds a small VisionTransformer and VisionTransformerPredictor from the reference's src/models, fills them by
formula, and does what train_step() of src/train.py does: targets from the target encoder, layer-normed, gathered at
each target mask; predictions; smooth L1; gradients. After that, the EMA update of the target encoder.
"""

import torch
import torch.nn.functional as F
from formula import checks, normalised, permutations, pixels, rounded
from reference import gradient_norms, how, set_parameters, source, write

MOMENTUM = 0.996
BATCH, SIDE, PATCH, WIDTH, DEPTH, HEADS = 3, 48, 8, 48, 3, 4
NORM = torch.nn.LayerNorm


def main() -> None:
    folder = source(__doc__)
    from src.masks.utils import apply_masks
    from src.models.vision_transformer import VisionTransformer, vit_predictor
    from src.utils.tensors import repeat_interleave_batch

    shape = {"patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "mlp_ratio": 4}
    predictor_shape = {"predictor_embed_dim": 24, "depth": 2, "num_heads": HEADS}

    def build():
        return VisionTransformer([SIDE], qkv_bias=True, norm_layer=lambda d: NORM(d, eps=1e-6), **shape)

    encoder, target_encoder = build(), build()
    tokens = encoder.patch_embed.num_patches
    predictor = vit_predictor(num_patches=tokens, embed_dim=WIDTH, **predictor_shape)
    parameters = {
        "encoder": set_parameters(encoder, "encoder.", ["pos_embed"]),
        "target_encoder": set_parameters(target_encoder, "target_encoder.", ["pos_embed"]),
        "predictor": set_parameters(predictor, "predictor.", ["predictor_pos_embed"]),
    }

    order = permutations("ijepa.masks", BATCH, tokens)
    masks_enc = [order[:, :12].sort(dim=1).values]
    masks_pred = [order[:, 12 + 5 * i : 17 + 5 * i].sort(dim=1).values for i in range(4)]
    images = normalised(pixels("ijepa.images", (BATCH, 3, SIDE, SIDE)))

    with torch.no_grad():
        h = F.layer_norm(target_encoder(images), (WIDTH,))
        h = repeat_interleave_batch(apply_masks(h, masks_pred), BATCH, repeat=len(masks_enc))
    context = encoder(images, masks_enc)
    z = predictor(context, masks_enc, masks_pred)  # adds the positions to its own projection, not to context
    loss = F.smooth_l1_loss(z, h)
    loss.backward()
    gradients = {"encoder": gradient_norms(encoder), "predictor": gradient_norms(predictor)}

    numbers = {
        "encoder(images)": checks("encoder(images)", encoder(images)),
        "encoder(images).mean(1)": checks("encoder(images).mean(1)", encoder(images).mean(dim=1)),
        "encoder(images, masks)": checks("encoder(images, masks)", context),
        "targets": checks("targets", h),
        "predictions": checks("predictions", z),
        "loss": rounded(loss),
        "gradient_norms": gradients,
    }
    with torch.no_grad():
        for q, k in zip(encoder.parameters(), target_encoder.parameters(), strict=True):
            k.data.mul_(MOMENTUM).add_((1.0 - MOMENTUM) * q.detach().data)
    name = "blocks.0.attn.qkv.weight"
    numbers["ema"] = {"momentum": MOMENTUM, name: checks(name, target_encoder.state_dict()[name])}
    table = "predictor_pos_embed"
    numbers["tables"] = {
        "encoder.pos_embed": checks("pos_embed", encoder.pos_embed),
        f"predictor.{table}": checks(table, predictor.predictor_pos_embed),
    }

    write(
        "ijepa",
        {
            "how": how(
                folder,
                "facebookresearch/ijepa",
                """Parameters: formula("encoder." + name, shape) and so on; the two sin-cos tables keep the values that
                the code computes (float32). images = normalised(pixels("ijepa.images", [3, 3, 48, 48])). Targets and
                predictions are ordered mask first, then sample. No optimiser step is done before the EMA update.""",
            ),
            "config": {"image_size": SIDE, "batch": BATCH, "encoder": shape, "predictor": predictor_shape},
            "parameters": parameters,
            "inputs": {
                "images": {"pixels": "ijepa.images", "shape": [BATCH, 3, SIDE, SIDE]},
                "masks_enc": [m.tolist() for m in masks_enc],
                "masks_pred": [m.tolist() for m in masks_pred],
            },
            "numbers": numbers,
        },
    )


if __name__ == "__main__":
    main()
