"""Golden numbers of DINOv3's losses and head, from facebookresearch/dinov3, in float64.

It runs dinov3/loss (DINO with Sinkhorn-Knopp and with centring, iBOT, KoLeo, Gram) and dinov3/layers/dino_head on
inputs by formula, in a real process group of one process. The sum of all terms comes from compute_losses() of
dinov3/train/ssl_meta_arch.py itself. Casts to float32 in the reference keep float64 here.
"""

from types import SimpleNamespace
from unittest.mock import MagicMock

from dino_inputs import (
    BATCH,
    CONFIG,
    GLOBALS,
    HEAD,
    INPUTS,
    LOCALS,
    NOTE,
    PROTOTYPES,
    STUDENT_TEMPERATURE,
    TEACHER_TEMPERATURE,
    WEIGHTS,
    count,
    given,
    heads,
    masks,
)
from formula import checks, rounded
from reference import float_means_double, gradients, how, one_process, package, set_parameters, source, stub, write
from torch import nn


def with_gradients(loss, **inputs) -> dict[str, object]:
    return {"loss": rounded(loss), "gradients": gradients(loss, inputs)}


def main() -> None:
    folder = source(__doc__)
    package("dinov3.train", folder / "dinov3" / "train")
    for name in (
        "termcolor",
        "dinov3.data",
        "dinov3.checkpointer",
        "dinov3.fsdp",
        "dinov3.fsdp.ac_compile_parallelize",
    ):
        stub(name, __getattr__=MagicMock())
    nn.Module.compile = lambda self, *args, **kwargs: None  # the same numbers without a compiler
    one_process()
    from dinov3.layers.dino_head import DINOHead
    from dinov3.loss import DINOLoss, GramLoss, KoLeoLoss, KoLeoLossDistributed, iBOTPatchLoss
    from dinov3.train.ssl_meta_arch import SSLMetaArch

    numbers = {}
    temperature = TEACHER_TEMPERATURE
    mask, indices, weight = masks()

    # DINO on class tokens
    dino = DINOLoss(PROTOTYPES, student_temp=STUDENT_TEMPERATURE).double()
    student, local, teacher, center = given("student_global", "student_local", "teacher_global", "center")
    targets = dino.sinkhorn_knopp_teacher(teacher.flatten(0, 1), teacher_temp=temperature)
    numbers["dino.targets"] = checks("dino.targets", targets)
    targets = targets.unflatten(0, (GLOBALS, BATCH))
    numbers["dino.global"] = with_gradients(dino(student, targets, ignore_diagonal=True), student_global=student)
    numbers["dino.global_with_diagonal"] = with_gradients(dino(student, targets), student_global=student)
    numbers["dino.local"] = with_gradients(dino(local, targets), student_local=local)
    terms = GLOBALS * (GLOBALS - 1), GLOBALS * LOCALS
    scales = [n / sum(terms) for n in terms]
    both = scales[0] * dino(student, targets, ignore_diagonal=True) + scales[1] * dino(local, targets)
    numbers["dino.combined"] = {
        "global_scale": scales[0],
        "local_scale": scales[1],
        **with_gradients(both, student_global=student, student_local=local),
    }
    dino.center = center.clone()
    centred = dino.softmax_center_teacher(teacher.flatten(0, 1), teacher_temp=temperature)
    numbers["dino.centred_targets"] = checks("dino.centred_targets", centred)
    dino.update_center(teacher.flatten(0, 1))
    dino.apply_center_update()
    numbers["dino.updated_center"] = checks("dino.updated_center", dino.center)

    # iBOT on masked patches
    ibot = iBOTPatchLoss(PROTOTYPES, student_temp=STUDENT_TEMPERATURE).double()
    student, teacher = given("student_masked", "teacher_masked")
    targets = ibot.sinkhorn_knopp_teacher(teacher, temperature, n_masked_patches_tensor=count(indices))
    numbers["ibot.targets"] = checks("ibot.targets", targets)
    loss = ibot.forward_masked(student, targets, mask, n_masked_patches=len(indices), masks_weight=weight)
    numbers["ibot"] = with_gradients(loss, student_masked=student)

    # KoLeo
    (x,) = given("koleo")
    numbers["koleo"] = with_gradients(KoLeoLoss()(x), koleo=x)
    numbers["koleo.distributed_top2"] = with_gradients(KoLeoLossDistributed(topk=2)(x), koleo=x)

    # Gram
    student, teacher = given("student_patches", "teacher_patches")
    variants = {
        "gram.defaults": ({}, True),
        "gram.anchor": ({"remove_neg": False}, True),
        "gram.batch_level": ({"remove_neg": False}, False),
        "gram.only_teacher_negatives_removed": ({"remove_neg": False, "remove_only_teacher_neg": True}, True),
        "gram.not_normalised": ({"remove_neg": False, "apply_norm": False}, True),
    }
    for name, (options, img_level) in variants.items():
        loss = GramLoss(**options)(student, teacher, img_level=img_level)
        numbers[name] = {
            "options": {**options, "img_level": img_level},
            **with_gradients(loss, student_patches=student),
        }

    # The head
    head = DINOHead(**HEAD)
    parameters = {"head": set_parameters(head, "head.")}
    (x,) = given("head")
    y = head(x)
    numbers["head"] = {
        "output": checks("head.output", y),
        "gradients_of_mean_square": gradients(y.square().mean(), {"head": x, **dict(head.named_parameters())}),
    }

    # All together
    cls, local, patches = given("student_cls", "student_local_cls", "student_patches", whole=True)
    teacher_cls, teacher_patches = given("teacher_cls", "teacher_patches", whole=True)
    dino_head, ibot_head = heads()
    targets = dino.sinkhorn_knopp_teacher((teacher_cls @ dino_head.T).flatten(0, 1), teacher_temp=temperature)
    patch_targets = ibot.sinkhorn_knopp_teacher(
        teacher_patches.flatten(0, 1)[indices] @ ibot_head.T, temperature, n_masked_patches_tensor=count(indices)
    )
    arch = SimpleNamespace(
        cfg=SimpleNamespace(dino=SimpleNamespace(reweight_dino_local_loss=False)),
        dino_loss=dino,
        ibot_patch_loss=ibot,
        koleo_loss=KoLeoLoss(),
        gram_loss=GramLoss(remove_neg=False),
        gram_use_loss=True,
        gram_img_level=True,
        gram_loss_schedule=None,
        gram_compute_stats=False,
        gram_loss_weight=WEIGHTS["gram"],
        dino_global_ignore_diagonal=True,
        dino_loss_weight=WEIGHTS["dino"],
        dino_koleo_loss_weight=WEIGHTS["koleo"],
        ibot_loss_weight=WEIGHTS["ibot"],
    )
    loss, parts = SSLMetaArch.compute_losses(
        arch,
        teacher_global={"cls_centered": targets.unflatten(0, (GLOBALS, BATCH)), "masked_patch_centered": patch_targets},
        student_global={
            "cls_pre_head": cls,
            "cls_after_head": cls @ dino_head.T,
            "masked_patch_after_head": patches.flatten(0, 1)[indices] @ ibot_head.T,
        },
        student_local={"cls_after_head": local @ dino_head.T},
        gram_global={"student_patches": patches, "teacher_patches": teacher_patches},
        masks=mask,
        mask_indices_list=indices,
        masks_weight=weight,
        iteration=0,
    )
    numbers["whole"] = {
        "parts": {name: rounded(value) for name, value in parts.items()},
        "without_gram": rounded(loss - WEIGHTS["gram"] * parts["gram_loss"]),
        **with_gradients(loss, student_cls=cls, student_local_cls=local, student_patches=patches),
    }

    record = how(
        folder,
        "facebookresearch/dinov3",
        NOTE
        + """In whole the Gram term is at image level without removal of negatives (as in the gram anchor config), and
        parts are before weighting. The head has no weight norm: its last layer is a plain linear map of the
        normalised bottleneck.""",
    )
    write(
        "dinov3",
        {"how": record, "config": CONFIG, "parameters": parameters, "inputs": INPUTS, "numbers": numbers},
    )


if __name__ == "__main__":
    with float_means_double():
        main()
