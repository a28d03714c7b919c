"""Golden numbers of DINO-WM's predictor as it is in facebookresearch/jepa-wms, in float64, at weights by formula.

It runs ViTPredictor with two blocks and no dropout on the 16 x 16 tokens of its released models' frames, four of them,
by VideoWM.forward_pred and EncPredWM.unroll, with an embedded proprioception beside the patches and without:
predictions of four frames, and a rollout of four actions from one frame that reads two frames at a time, as its
planning does. Encoders, heads, data and the package tensordict are stubs. It needs einops and matplotlib.
"""

import torch
from formula import checks, tensor
from jepa_wms import joined, stub_the_rest, unrolled
from reference import how, set_parameters, source, write

SEEN, FELT, ACTED, PROPRIO, BLOCK, SIDE, FRAMES, HORIZON = 8, 2, 3, 3, 6, 16, 4, 4


def main() -> None:
    folder = source(__doc__)
    torch.set_default_dtype(torch.float64)
    stub_the_rest()
    from app.plan_common.models.prop_embedding import ProprioceptiveEmbedding
    from app.plan_common.models.vit import ViTPredictor
    from app.vjepa_wm.video_wm import VideoWM

    @torch.no_grad()
    def numbers(felt: int) -> dict[str, object]:
        name = f"dino_wm_jepa_wms.{felt}"
        parts = {
            "predictor": ViTPredictor(
                num_patches=SIDE**2, num_frames=FRAMES, dim=SEEN + felt + ACTED, depth=2, heads=2, mlp_dim=16,
                dim_head=4,
            ),
            "action_encoder": ProprioceptiveEmbedding(FRAMES, 1, BLOCK, 1, ACTED),
        }  # fmt: skip
        if felt:
            parts["proprio_encoder"] = ProprioceptiveEmbedding(FRAMES, 1, PROPRIO, 1, felt)
        shapes = {part: set_parameters(module, f"{part}.") for part, module in parts.items()}
        world = VideoWM(
            torch.nn.Identity(), parts["predictor"], parts["action_encoder"], parts.get("proprio_encoder"),
            enc_type="dino", pred_type="dino_wm", grid_size=SIDE, tubelet_size_enc=1, action_dim=BLOCK,
            proprio_dim=PROPRIO, use_proprio=bool(felt), action_conditioning="feature", batchify_video=True,
        )  # fmt: skip
        seen = tensor(f"{name}.latents", (1, FRAMES, 1, SIDE, SIDE, SEEN))
        feels = world.encode_proprio(tensor(f"{name}.proprio", (1, FRAMES, PROPRIO))) if felt else None
        actions = world.encode_act(tensor(f"{name}.actions", (1, FRAMES, BLOCK)))
        predicted, _, proprio = world.forward_pred(seen, actions, feels)
        taken = tensor(f"{name}.taken", (HORIZON, 1, BLOCK))
        return {
            "shapes": shapes,
            "forced": checks(f"{name}.forced", joined(predicted, proprio)),
            "rollout": checks(f"{name}.rollout", unrolled(world, seen, feels, taken)),
        }

    content = {"felt": numbers(FELT), "blind": numbers(0)}
    write("dino_wm_jepa_wms", {"how": how(folder, "https://github.com/facebookresearch/jepa-wms", __doc__), **content})


if __name__ == "__main__":
    main()
