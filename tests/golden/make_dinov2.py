"""Golden numbers of DINOv2's head and of its whole loss, from facebookresearch/dinov2, in float64.

It runs dinov2/layers/dino_head (weight-normed last layer) and forward_backward() of dinov2/train/ssl_meta_arch.py
itself, with Sinkhorn-Knopp and with centring, on tokens by formula: backbones that return those tokens, and linear
heads, stand for the networks. Its inputs are those of make_dinov3.py, so that the two wholes are comparable.
"""

from types import SimpleNamespace
from unittest.mock import MagicMock

import torch
from dino_inputs import (
    BATCH,
    CONFIG,
    GLOBALS,
    HEAD,
    INPUTS,
    LOCALS,
    NOTE,
    PATCHES,
    PROTOTYPES,
    STUDENT_TEMPERATURE,
    TEACHER_TEMPERATURE,
    WEIGHTS,
    WIDTH,
    count,
    given,
    heads,
    masks,
)
from formula import checks, rounded, tensor
from reference import float_means_double, gradients, how, one_process, package, set_parameters, source, stub, write
from torch import Tensor


class Blocks:
    """Of xformers' BlockDiagonalMask, what the reference uses: joining token lists and splitting them again."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    @classmethod
    def from_tensor_list(cls, tensors: list[Tensor]) -> tuple["Blocks", Tensor]:
        return cls([x.shape[1] for x in tensors]), torch.cat(tensors, dim=1)

    def split(self, x: Tensor) -> list[Tensor]:
        return list(x.split(self.lengths, dim=1))


def main() -> None:
    folder = source(__doc__)
    for name in ("fvcore", "fvcore.common", "fvcore.common.checkpoint", "dinov2.fsdp"):
        stub(name, __getattr__=MagicMock())
    stub("xformers")
    stub("xformers.ops", fmha=SimpleNamespace(BlockDiagonalMask=Blocks))
    package("dinov2.train", folder / "dinov2" / "train")
    Tensor.cuda = lambda self, *args, **kwargs: self
    one_process()
    from dinov2.layers.dino_head import DINOHead
    from dinov2.loss import DINOLoss, KoLeoLoss, iBOTPatchLoss
    from dinov2.train.ssl_meta_arch import SSLMetaArch

    numbers = {}
    head = DINOHead(**HEAD)
    parameters = {"head": set_parameters(head, "head.")}
    (x,) = given("head")
    for name in ("head", "head.unit_scale"):
        y = head(x)
        numbers[name] = {
            "output": checks("head.output", y),
            "gradients_of_mean_square": gradients(y.square().mean(), {"head": x, **dict(head.named_parameters())}),
        }
        head.last_layer.weight_g.data.fill_(1)

    mask, indices, weight = masks()
    cls, local, patches = given("student_cls", "student_local_cls", "student_patches", whole=True)
    teacher_cls, teacher_patches = given("teacher_cls", "teacher_patches", whole=True)
    dino_head, ibot_head = heads()
    as_heads = {"dino_head": lambda x: x @ dino_head.T, "ibot_head": lambda x: x @ ibot_head.T}

    def tokens(cls: Tensor, patches: Tensor | None = None) -> dict[str, Tensor | None]:
        return {"x_norm_clstoken": cls.flatten(0, 1), "x_norm_patchtokens": patches}

    for centering in ("sinkhorn_knopp", "centering"):
        dino, ibot = DINOLoss(PROTOTYPES, STUDENT_TEMPERATURE), iBOTPatchLoss(PROTOTYPES, STUDENT_TEMPERATURE)
        dino.center, ibot.center = tensor("dino.center", (1, PROTOTYPES)), tensor("ibot.center", (1, 1, PROTOTYPES))
        losses = []
        arch = SimpleNamespace(
            cfg=SimpleNamespace(
                crops=SimpleNamespace(local_crops_number=LOCALS),
                train=SimpleNamespace(centering=centering),
                dino=SimpleNamespace(koleo_loss_weight=WEIGHTS["koleo"]),
            ),
            teacher=SimpleNamespace(backbone=lambda *_, **__: tokens(teacher_cls, teacher_patches), **as_heads),
            student=SimpleNamespace(backbone=lambda *_, **__: (tokens(cls, patches), tokens(local)), **as_heads),
            do_dino=True,
            do_ibot=True,
            do_koleo=True,
            ibot_separate_head=True,
            dino_loss=dino,
            ibot_patch_loss=ibot,
            koleo_loss=KoLeoLoss(),
            dino_loss_weight=WEIGHTS["dino"],
            ibot_loss_weight=WEIGHTS["ibot"],
            backprop_loss=losses.append,
            fsdp_synchronize_streams=lambda: None,
        )
        images = {
            "collated_global_crops": torch.empty(GLOBALS * BATCH),
            "collated_local_crops": torch.empty(LOCALS * BATCH),
            "collated_masks": mask,
            "mask_indices_list": indices,
            "n_masked_patches": count(indices),
            "upperbound": PATCHES * BATCH,
            "masks_weight": weight,
        }
        parts = SSLMetaArch.forward_backward(arch, images, TEACHER_TEMPERATURE)
        numbers[f"whole.{centering}"] = {
            "parts": {name: rounded(value) for name, value in parts.items()},
            "loss": rounded(losses[0]),
            "gradients": gradients(
                losses[0], {"student_cls": cls, "student_local_cls": local, "student_patches": patches}
            ),
        }
    for loss in (dino, ibot):
        loss.apply_center_update()
    numbers["updated_centers"] = {
        "dino": checks("dino.center", dino.center),
        "ibot": checks("ibot.center", ibot.center),
    }

    record = how(
        folder,
        "facebookresearch/dinov2",
        NOTE
        + """There is no Gram term: whole.sinkhorn_knopp's loss is dinov3.json's whole.without_gram. parts are what the
        reference logs: already divided by the number of crop pairs, and KoLeo's weighted and halved, iBOT's halved.
        Centring starts from tensor("dino.center", [1, 32]) and tensor("ibot.center", [1, 1, 32]);
        updated_centers is after one step from there. head.unit_scale is the head after last_layer.weight_g is set to
        1, as it is initialised.""",
    )
    inputs = {key: value for key, value in INPUTS.items() if key != "tensors"}
    inputs["tensors"] = {"dino.head": [10, WIDTH], "dino.center": [1, PROTOTYPES], "ibot.center": [1, 1, PROTOTYPES]}
    write(
        "dinov2",
        {"how": record, "config": CONFIG, "parameters": parameters, "inputs": inputs, "numbers": numbers},
    )


if __name__ == "__main__":
    with float_means_double():
        main()
