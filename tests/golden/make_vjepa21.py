"""Golden numbers of V-JEPA 2.1: one training step of facebookresearch/vjepa2, without the optimiser, in float64.

It builds a small VisionTransformer and VisionTransformerPredictor from the reference's app/vjepa_2_1/models in its
wrappers, fills them by formula, and does what train_step() of app/vjepa_2_1/train.py does with the settings of
configs/train_2_1: four levels, each layer-normed in the target; L1 on hidden tokens; L1 on visible ones, each divided
by what compute_mask_distance() gives; the sum of the two means, the second times the weight that visible tokens have
in the end. It does so on clips under two masks, and on images under one; then it asks the reference's schedule for
that weight.
"""

import contextlib

import torch
import torch.nn.functional as F
from formula import checks, normalised, permutations, pixels, rounded
from reference import gradient_norms, how, set_parameters, source, stub, write

BATCH, FRAMES, SIDE, PATCH = 2, 4, 64, 16
CELLS = (SIDE // PATCH) ** 2
WEIGHT = 0.5
CLIP = {
    "img_size": (SIDE, SIDE),
    "patch_size": PATCH,
    "num_frames": FRAMES,
    "tubelet_size": 2,
    "use_rope": True,
    "interpolate_rope": True,
    "img_temporal_dim_size": 1,
    "modality_embedding": True,
}
CONFIG = {
    "encoder": {"embed_dim": 48, "depth": 12, "num_heads": 3, "mlp_ratio": 4},
    "predictor": {
        "predictor_embed_dim": 32,
        "depth": 4,
        "num_heads": 2,
        "use_mask_tokens": True,
        "num_mask_tokens": 2,
        "zero_init_mask_tokens": False,
        "return_all_tokens": True,
    },
}
SCHEDULE = [0, 14999, 15000, 18750, 22500, 29999, 30000, 134999]


def build():
    from app.vjepa_2_1.models.predictor import vit_predictor
    from app.vjepa_2_1.models.vision_transformer import VisionTransformer
    from app.vjepa_2_1.wrappers import MultiSeqWrapper, PredictorMultiSeqWrapper

    def encoder():
        norm = lambda width: torch.nn.LayerNorm(width, eps=1e-6)  # noqa: E731
        return MultiSeqWrapper(VisionTransformer(qkv_bias=True, norm_layer=norm, **CLIP, **CONFIG["encoder"]))

    predictor = vit_predictor(embed_dim=CONFIG["encoder"]["embed_dim"], **CLIP, **CONFIG["predictor"])
    models = {"encoder": encoder(), "target_encoder": encoder(), "predictor": PredictorMultiSeqWrapper(predictor)}
    return models, {part: set_parameters(model.backbone, f"{part}.") for part, model in models.items()}


def step(models, inputs, masks_enc, masks_pred, mod: str) -> dict[str, object]:
    """One step on a group of clips or images under its masks."""
    from app.vjepa_2_1.models.utils.masks_dist import compute_mask_distance
    from src.masks.utils import apply_masks

    for model in models.values():
        model.zero_grad()
    width = CONFIG["encoder"]["embed_dim"]
    with torch.no_grad():
        (h,) = models["target_encoder"]([inputs], gram_mode=False, training_mode=True)
        h = torch.cat([F.layer_norm(level, (width,)) for level in h.split(width, dim=2)], dim=2)
    context = models["encoder"]([inputs], [masks_enc], gram_mode=False, training_mode=True)
    (z_pred,), (z_context,) = models["predictor"](context, [masks_enc], [masks_pred], mod=mod)
    (away,) = compute_mask_distance([masks_pred], [masks_enc], SIDE // PATCH, False)
    hidden, visible = [], []
    for i in range(len(masks_enc)):
        hidden.append(torch.mean(torch.abs(z_pred[i] - apply_masks(h, [masks_pred[i]], concat=False)[0])))
        error = torch.abs(z_context[i] - apply_masks(h, [masks_enc[i]], concat=False)[0])
        visible.append(torch.mean(error * (1 / away[i].unsqueeze(2))))
    loss_pred, loss_context = sum(hidden) / len(hidden), sum(visible) / len(visible)
    loss = loss_pred + loss_context * WEIGHT
    loss.backward()
    return {
        "targets": checks("targets", h),
        "encoder(inputs, masks)": [checks(f"context.{i}", x) for i, x in enumerate(context[0])],
        "predictions": [checks(f"predictions.{i}", x) for i, x in enumerate(z_pred)],
        "context_predictions": [checks(f"context_predictions.{i}", x) for i, x in enumerate(z_context)],
        "distances": [checks(f"distances.{i}", x) for i, x in enumerate(away)],
        "loss_pred": rounded(loss_pred),
        "loss_context": rounded(loss_context),
        "loss": rounded(loss),
        "gradient_norms": {part: gradient_norms(models[part].backbone) for part in ("encoder", "predictor")},
    }


def strewn(name: str, tokens: int, seen: int, hidden: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Visible and hidden tokens from anywhere; what is left is neither."""
    order = permutations(name, BATCH, tokens)
    return order[:, :seen].sort(dim=1).values, order[:, seen : seen + hidden].sort(dim=1).values


def corners(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The upper left quarter hidden in all frames of the first sample, the lower right in those of the second."""
    cell = torch.arange(frames * CELLS)
    row, column = cell % CELLS // (SIDE // PATCH), cell % (SIDE // PATCH)
    hidden = [(row < 2) & (column < 2), (row > 1) & (column > 1)]
    return torch.stack([cell[~one] for one in hidden]), torch.stack([cell[one] for one in hidden])


def main() -> None:
    folder = source(__doc__)
    torch.set_default_dtype(torch.float64)  # for what the reference makes of indices
    stub("timm.models.layers", drop_path=None)
    stub("einops", rearrange=None)
    torch.backends.cuda.sdp_kernel = contextlib.nullcontext  # it chooses among CUDA kernels
    from app.vjepa_2_1.models.utils.modules import Lambda_LinearWarmupHold

    models, parameters = build()
    pairs = [corners(FRAMES // 2), strewn("vjepa21.masks", FRAMES // 2 * CELLS, 8, 20)]
    clip_masks = [list(masks) for masks in zip(*pairs, strict=True)]
    image_masks = [[mask] for mask in corners(1)]
    clips = normalised(pixels("vjepa21.clips", (BATCH, 3, FRAMES, SIDE, SIDE)))
    images = normalised(pixels("vjepa21.images", (BATCH, 3, 1, SIDE, SIDE)))
    schedule = Lambda_LinearWarmupHold(lambda_value=WEIGHT)
    write(
        "vjepa21",
        {
            "how": how(
                folder,
                "zenlm/vjepa2",
                """The folder was this fork, whose app/vjepa_2_1 and configs/train_2_1 are those of
                facebookresearch/vjepa2 of March 2026 (commits be434e4 and 16de6c8), which were read beside it; of that
                repository no snapshot with them could be had. Parameters: formula("encoder." + name, shape) and so on;
                names are the backbones', without wrapper prefixes. Inputs: normalised(pixels(name, shape)). The mask
                token is mask_tokens.0 in all cases, and mask_tokens.1 has no gradient. Targets, predictions and
                context_predictions have the four levels side by side. distances: what the errors of visible tokens are
                divided by.""",
            ),
            "config": {"clip": CLIP, **CONFIG},
            "parameters": parameters,
            "inputs": {
                "clips": {"pixels": "vjepa21.clips", "shape": [BATCH, 3, FRAMES, SIDE, SIDE]},
                "images": {"pixels": "vjepa21.images", "shape": [BATCH, 3, 1, SIDE, SIDE]},
                **{
                    f"{kind}_{name}": [mask.tolist() for mask in part]
                    for kind, both in (("clips", clip_masks), ("images", image_masks))
                    for name, part in zip(("masks_enc", "masks_pred"), both, strict=True)
                },
            },
            "weight": WEIGHT,
            "schedule": [[at, rounded(schedule.value(at))] for at in SCHEDULE],
            "numbers": {
                "clips": step(models, clips, *clip_masks, "video"),
                "images": step(models, images, *image_masks, "image"),
            },
        },
    )


if __name__ == "__main__":
    main()
