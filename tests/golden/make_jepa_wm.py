"""Golden numbers of JEPA-WM's predictor: facebookresearch/jepa-wms, in float64, at weights by formula, small.

It runs VisionTransformerAdaLN with two blocks, VideoWM.forward_pred and EncPredWM.unroll, with an embedded
proprioception beside the patches and without: predictions of four frames with the gradients of their mean squared
error, and a rollout of five actions from one frame that reads two frames at a time, as its planning does. Encoders,
heads, data and the package tensordict are stubs. It needs einops, timm and matplotlib.
"""

import torch
from formula import checks, rounded, tensor
from jepa_wms import joined, stub_the_rest, unrolled
from reference import gradients, how, set_parameters, source, write

SEEN, FELT, PROPRIO, BLOCK, SIDE, FRAMES, HORIZON = 6, 4, 3, 6, 2, 4, 5


def main() -> None:
    folder = source(__doc__)
    torch.set_default_dtype(torch.float64)
    stub_the_rest()
    from app.plan_common.models.AdaLN_vit import vit_predictor_AdaLN
    from app.plan_common.models.prop_embedding import ProprioceptiveEmbedding
    from app.vjepa_wm.video_wm import VideoWM

    def numbers(felt: int) -> dict[str, object]:
        name = f"jepa_wm.{felt}"
        predictor = vit_predictor_AdaLN(
            img_size=28, patch_size=14, num_frames=FRAMES, tubelet_size=1, embed_dim=SEEN,
            predictor_embed_dim=26 - felt, depth=2, num_heads=2, local_window=(3, -1, -1), action_dim=BLOCK,
            proprio_dim=PROPRIO, proprio_emb_dim=felt, proprio_encoder_inpred=False, use_proprio=True,
        )  # fmt: skip
        shapes = {"predictor": set_parameters(predictor, "predictor.")}
        embed = None
        if felt:
            embed = ProprioceptiveEmbedding(FRAMES, 1, PROPRIO, 1, felt)
            shapes["proprio_encoder"] = set_parameters(embed, "proprio_encoder.")
        world = VideoWM(
            torch.nn.Identity(), predictor, None, embed, enc_type="dino", pred_type="AdaLN", grid_size=SIDE,
            tubelet_size_enc=1, action_dim=BLOCK, proprio_dim=PROPRIO, use_proprio=bool(felt),
            action_encoder_inpred=True, batchify_video=True,
        )  # fmt: skip
        seen = tensor(f"{name}.latents", (2, FRAMES, 1, SIDE, SIDE, SEEN))
        actions = tensor(f"{name}.actions", (2, FRAMES, BLOCK))
        feels = world.encode_proprio(tensor(f"{name}.proprio", (2, FRAMES, PROPRIO))) if felt else None

        predicted, _, proprio = world.forward_pred(seen, world.encode_act(actions), feels)
        following, wanted = joined(predicted, proprio), joined(seen, feels).detach()
        loss = (following[:, :-1] - wanted[:, 1:]).pow(2).mean()
        found = {
            "shapes": shapes,
            "forced": checks(f"{name}.forced", following),
            "loss": rounded(loss),
            "gradients": gradients(loss, dict(predictor.named_parameters())),
        }
        with torch.no_grad():
            taken = tensor(f"{name}.taken", (HORIZON, 2, BLOCK))
            found["rollout"] = checks(f"{name}.rollout", unrolled(world, seen, feels, taken))
        return found

    content = {"felt": numbers(FELT), "blind": numbers(0)}
    write("jepa_wm", {"how": how(folder, "https://github.com/facebookresearch/jepa-wms", __doc__), **content})


if __name__ == "__main__":
    main()
