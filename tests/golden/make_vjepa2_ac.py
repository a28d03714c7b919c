"""Golden numbers of V-JEPA 2-AC's predictor: facebookresearch/vjepa2, in float64, at weights by formula, small.

It runs VisionTransformerPredictorAC with two blocks: predictions of four frames, layer-normalised, with the gradients
of their mean absolute error, and a rollout of three actions from one frame and pose by WorldModel.infer_next_action of
the notebooks, whose search is replaced by given actions; their compute_new_pose of eight
poses and motions. The width is that of the encoder in vjepa2.json. It needs timm, scipy and tqdm.
"""

import torch
import torch.nn.functional as F
from formula import checks, rounded, tensor
from reference import gradients, how, set_parameters, source, write

DIM, SIDE, FRAMES, HORIZON = 48, 6, 4, 3
REACH = torch.tensor([1.0, 1.0, 1.0, 3.0, 1.5, 3.0, 0.5])


def poses(name: str, count: int, frames: int) -> torch.Tensor:
    """Positions within a metre, any angles, closed to any degree."""
    return tensor(name, (count, frames, 7)) * REACH + torch.tensor([0.0] * 6 + [0.5])


def main() -> None:
    folder = source(__doc__)
    torch.set_default_dtype(torch.float64)
    from notebooks.utils import world_model_wrapper
    from notebooks.utils.mpc_utils import compute_new_pose
    from src.models.ac_predictor import vit_ac_predictor

    predictor = vit_ac_predictor(
        img_size=(8 * SIDE, 8 * SIDE), patch_size=8, num_frames=16, tubelet_size=2, embed_dim=DIM,
        predictor_embed_dim=24, depth=2, num_heads=2,
    )  # fmt: skip
    shapes = set_parameters(predictor, "predictor.")
    seen = F.layer_norm(tensor("vjepa2_ac.latents", (2, FRAMES, SIDE**2, DIM)), (DIM,))
    actions, states = tensor("vjepa2_ac.actions", (2, FRAMES, 7)), poses("vjepa2_ac.states", 2, FRAMES)
    following = predictor(seen.flatten(1, 2), actions, states).unflatten(1, (FRAMES, -1))
    following = F.layer_norm(following, (DIM,))
    loss = (following[:, :-1] - seen[:, 1:]).abs().mean()
    named = {name: value for name, value in predictor.named_parameters() if not name.startswith("extrinsics")}

    taken = tensor("vjepa2_ac.taken", (2, HORIZON, 7))

    def given(context_frame, context_pose, goal_frame, world_model, close_gripper):
        """In the place of the search: the frames and poses that its own loop makes of given actions."""
        frames, places = context_frame, context_pose
        for step in range(1, HORIZON + 1):
            frame, pose = world_model(frames, taken[:, :step], places)
            frames, places = torch.cat([frames, frame], dim=1), torch.cat([places, pose], dim=1)
        return [(frames[:, 1:], places[:, 1:])]

    world_model_wrapper.cem = given
    planner = world_model_wrapper.WorldModel(None, predictor, SIDE**2, None, mpc_args={})
    with torch.no_grad():
        ahead, places = planner.infer_next_action(seen[:, :1], states[:, :1], None)
    begun, motions = poses("vjepa2_ac.poses", 8, 1), poses("vjepa2_ac.motions", 8, 1)
    numbers = {
        "shapes": shapes,
        "forced": checks("vjepa2_ac.forced", following),
        "loss": rounded(loss),
        "gradients": gradients(loss, named),
        "rollout": checks("vjepa2_ac.rollout", ahead),
        "places": checks("vjepa2_ac.places", places),
        "moved": [[rounded(x) for x in row] for row in compute_new_pose(begun, motions)[:, 0]],
    }
    write("vjepa2_ac", {"how": how(folder, "https://github.com/facebookresearch/vjepa2", __doc__), **numbers})


if __name__ == "__main__":
    main()
