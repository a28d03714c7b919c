"""What the scripts that run facebookresearch/jepa-wms share: stubs of what is not run, and its planning's rollout."""

import torch
from reference import stub
from torch import Tensor


def stub_the_rest() -> None:
    """Encoders, heads, data and the package tensordict, which its modules import."""
    stub("tensordict", TensorDict=dict)
    stub("tensordict.tensordict", TensorDict=dict)
    stub("app.plan_common.datasets.droid_dset", compute_new_pose=None)
    stub("app.plan_common.models.wm_heads", WorldModelPoseReadoutHead=None, WorldModelViTImageHead=None)
    names = ("clean_state_dict", "fetch_checkpoint", "init_video_model", "load_checkpoint_state_dict")
    stub("app.vjepa_wm.utils", **dict.fromkeys(names))


def joined(visual: Tensor, proprio: Tensor | None) -> Tensor:
    """(B, T, N, D): patches, and beside each what is felt."""
    visual = visual.flatten(2, 4)
    return visual if proprio is None else torch.cat([visual, proprio], dim=-1)


def unrolled(world: torch.nn.Module, seen: Tensor, feels: Tensor | None, taken: Tensor) -> Tensor:
    """What follows the first frame of the first clip under actions (T, B, A), as its planning imagines it."""
    from app.vjepa_wm.modelcustom.simu_env_planning.vit_enc_preds import EncPredWM

    planner = EncPredWM(world, taken.shape[-1], None, ctxt_window=2)
    if feels is None:
        later = (planner.unroll(seen[:1, :1], taken), None)
    else:
        ahead = planner.unroll({"visual": seen[:1, :1], "proprio": feels[:1, :1]}, taken)
        later = (ahead["visual"], ahead["proprio"])
    return joined(*(None if part is None else part.transpose(0, 1) for part in later))[:, 1:]
