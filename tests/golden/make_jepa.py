"""Golden numbers of V-JEPA 1: one training step of facebookresearch/jepa, without the optimiser, in float64.

It builds a small VisionTransformer and VisionTransformerPredictor from the reference's src/models in their
MultiMaskWrapper and PredictorMultiMaskWrapper, fills them by formula, and does what train_step() of app/vjepa/train.py
does with configs/pretrain/vitl16.yaml (loss_exp 1, reg_coeff 0, uniform_power, mask tokens): layer-normed targets, L1
per mask, the mean over masks, gradients; also the variance term that it computes and weighs with 0.
"""

import contextlib

import torch
import torch.nn.functional as F
from formula import checks, normalised, permutations, pixels, rounded
from reference import gradient_norms, how, set_parameters, source, write

BATCH, FRAMES, SIDE, PATCH = 2, 8, 48, 8
CLIP = {"img_size": SIDE, "patch_size": PATCH, "num_frames": FRAMES, "tubelet_size": 2, "uniform_power": True}
ENCODER = {"embed_dim": 48, "depth": 3, "num_heads": 4, "mlp_ratio": 4}
PREDICTOR = {"predictor_embed_dim": 24, "depth": 2, "num_heads": 4, "use_mask_tokens": True, "num_mask_tokens": 2}


def main() -> None:
    folder = source(__doc__)
    torch.backends.cuda.sdp_kernel = contextlib.nullcontext  # it chooses among CUDA kernels
    from src.masks.utils import apply_masks
    from src.models.predictor import vit_predictor
    from src.models.utils.multimask import MultiMaskWrapper, PredictorMultiMaskWrapper
    from src.models.utils.pos_embs import get_3d_sincos_pos_embed
    from src.models.vision_transformer import VisionTransformer

    def build(**changes):
        shape = {**CLIP, **ENCODER, **changes}
        return VisionTransformer(qkv_bias=True, norm_layer=lambda d: torch.nn.LayerNorm(d, eps=1e-6), **shape)

    encoder, target_encoder = MultiMaskWrapper(build()), MultiMaskWrapper(build())
    predictor = PredictorMultiMaskWrapper(vit_predictor(embed_dim=ENCODER["embed_dim"], **CLIP, **PREDICTOR))
    image_encoder = build(num_frames=1)
    parameters = {
        "encoder": set_parameters(encoder.backbone, "encoder.", ["pos_embed"]),
        "target_encoder": set_parameters(target_encoder.backbone, "target_encoder.", ["pos_embed"]),
        "predictor": set_parameters(predictor.backbone, "predictor.", ["predictor_pos_embed"]),
        "image_encoder": set_parameters(image_encoder, "image_encoder.", ["pos_embed"]),
    }

    tokens = FRAMES // 2 * (SIDE // PATCH) ** 2
    orders = [permutations(f"jepa.masks.{i}", BATCH, tokens) for i in range(2)]
    kept = [(40, 104), (24, 90)]  # context and target tokens; the second pair leaves 30 out
    masks_enc = [order[:, :n].sort(dim=1).values for order, (n, _) in zip(orders, kept, strict=True)]
    masks_pred = [order[:, n : n + m].sort(dim=1).values for order, (n, m) in zip(orders, kept, strict=True)]
    clips = normalised(pixels("jepa.clips", (BATCH, 3, FRAMES, SIDE, SIDE)))
    image = normalised(pixels("jepa.image", (BATCH, 3, SIDE, SIDE)))

    with torch.no_grad():
        h = target_encoder(clips)
        h = apply_masks(F.layer_norm(h, (h.size(-1),)), masks_pred, concat=False)
    context = encoder(clips, masks_enc)
    z = predictor(context, h, masks_enc, masks_pred)
    loss = sum(torch.mean(torch.abs(zi - hi)) for zi, hi in zip(z, h, strict=True)) / len(masks_pred)
    loss.backward()
    deviation = sum(torch.sqrt(zi.var(dim=1) + 0.0001) for zi in z) / len(z)

    def positions(width: int, uniform_power: bool) -> torch.Tensor:
        table = get_3d_sincos_pos_embed(width, SIDE // PATCH, FRAMES // 2, uniform_power=uniform_power)
        return torch.from_numpy(table).float()

    numbers = {
        "encoder(clips)": checks("encoder(clips)", encoder(clips)),
        "encoder(clips).mean(1)": checks("encoder(clips).mean(1)", encoder(clips).mean(dim=1)),
        "image_encoder(image)": checks("image_encoder(image)", image_encoder(image)),
        "encoder(clips, masks)": [checks(f"context.{i}", x) for i, x in enumerate(context)],
        "targets": [checks(f"targets.{i}", x) for i, x in enumerate(h)],
        "predictions": [checks(f"predictions.{i}", x) for i, x in enumerate(z)],
        "loss": rounded(loss),
        "variance_term": rounded(F.relu(1.0 - deviation).mean()),
        "gradient_norms": {
            "encoder": gradient_norms(encoder.backbone),
            "predictor": gradient_norms(predictor.backbone),
        },
        "tables": {
            "encoder.pos_embed": checks("pos_embed", encoder.backbone.pos_embed),
            "predictor.predictor_pos_embed": checks("predictor_pos_embed", predictor.backbone.predictor_pos_embed),
            "image_encoder.pos_embed": checks("image_pos_embed", image_encoder.pos_embed),
            "width 64": checks("positions.64", positions(64, True)),
            "width 48, not uniform_power": checks("positions.48", positions(48, False)),
        },
    }

    record = how(
        folder,
        "facebookresearch/jepa",
        """Parameters: formula("encoder." + name, shape) and so on; names are the backbones', without wrapper prefixes;
        the sin-cos tables keep the values that the code computes (float32). Inputs: normalised(pixels(name, shape)).
        The mask token is the one at the index of the mask: mask_tokens.0 for the first pair of masks, mask_tokens.1
        for the second. The image encoder (num_frames 1, Conv2d, 2-D positions) is another model than the encoder.
        tables, width 64: positions of a width that 6 does not divide, which are cut from 66.""",
    )
    write(
        "jepa",
        {
            "how": record,
            "config": {"clip": CLIP, "encoder": ENCODER, "predictor": PREDICTOR},
            "parameters": parameters,
            "inputs": {
                "clips": {"pixels": "jepa.clips", "shape": [BATCH, 3, FRAMES, SIDE, SIDE]},
                "image": {"pixels": "jepa.image", "shape": [BATCH, 3, SIDE, SIDE]},
                "masks_enc": [m.tolist() for m in masks_enc],
                "masks_pred": [m.tolist() for m in masks_pred],
            },
            "numbers": numbers,
        },
    )


if __name__ == "__main__":
    main()
