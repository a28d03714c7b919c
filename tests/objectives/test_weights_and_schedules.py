"""Terms count by their weights, and schedules are asked where the training stands."""

from typing import Any

import pytest
import torch

from jepa_wm.contracts import Batch
from jepa_wm.data.masks import BlockwiseMask, TubeMask
from jepa_wm.data.transforms import MultiCrop
from jepa_wm.encoders import ClassPool, ViT
from jepa_wm.losses import sinkhorn
from jepa_wm.objectives import (
    GramAnchor,
    LeJEPA,
    MaskedSIGReg,
    PredictorOptions,
    PrototypeOptions,
    SelfDistillation,
)
from jepa_wm.schedules import Constant, Linear


def batch(progress: float = 0.5) -> Batch:
    torch.manual_seed(1)
    views, small = (torch.randint(0, 256, (4, 2, 3, s, s), dtype=torch.uint8) for s in (16, 8))
    return {"views": views, "local_views": small, "pixels": views[:, 0], "step": 2, "progress": progress}


def distillation(**options: Any) -> SelfDistillation:
    torch.manual_seed(0)
    heads = PrototypeOptions(16, 12, 8, teacher=Linear(0.1, 0.9))
    encoder = ViT(8, 1, 24, 1, 2, prefix=1, pooling=ClassPool())
    made = SelfDistillation(encoder, MultiCrop(16, 8, 2), heads, BlockwiseMask(ratio=(0.4, 0.6)), **options)
    # At first teacher and student say the same, and the heads next to nothing.
    for parameter in made.teacher.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return made.double()


def test_self_distillation_weighs_its_terms() -> None:
    terms = distillation(patches=0.7, koleo=0.3, gram=GramAnchor(Linear(1.0, 5.0)))(batch(0.5))
    # Each of two large views is compared with the other, each of two small ones with both.
    views = (2 * terms["views"] + 4 * terms["local_views"]) / 6
    expected = views + 0.7 * terms["patches"] + 0.3 * 2 * terms["koleo"] + 3.0 * terms["gram"]
    torch.testing.assert_close(terms["loss"], expected)
    assert terms["gram"] > 1e-3 and terms["patches"] > 1e-3


def test_the_anchor_is_taken_in_training_alone() -> None:
    made = distillation(gram=GramAnchor(Constant(1.0)))
    for training in (False, True):
        made.train(training)(batch())
        assert torch.equal(made.anchor.norm.bias, made.teacher.encoder.norm.bias) == training  # type: ignore[union-attr]
        assert made.anchored == (0.5 if training else None)


@pytest.mark.parametrize(("progress", "temperature"), [(0.0, 0.1), (0.5, 0.5), (1.0, 0.9)])
@torch.no_grad()
def test_the_teachers_temperature_is_that_of_now(progress: float, temperature: float) -> None:
    made, data = distillation(), batch(progress)
    logits = made.teacher.view_head(made.teacher.encoder.pooled(data["views"].transpose(0, 1).flatten(0, 1)))
    shares = sinkhorn(logits, temperature)
    torch.testing.assert_close(made(data)["entropy"], -(shares * shares.log()).sum(dim=1).mean())


def test_the_teacher_of_self_distillation_follows_by_the_decay_of_now() -> None:
    made = distillation(decay=Linear(0.5, 1.0))
    with torch.no_grad():
        for parameter in made.student.parameters():
            parameter.fill_(1.0)
        for parameter in made.teacher.parameters():
            parameter.fill_(0.0)
    made.after_step(0.5)
    assert {value for parameter in made.teacher.parameters() for value in parameter.unique().tolist()} == {0.25}


@pytest.mark.parametrize(("centre", "views"), [("global", 2), ("all", 4)])
def test_lejepas_centre_is_that_of_the_large_views_or_of_all(centre: str, views: int) -> None:
    torch.manual_seed(0)
    made, data = LeJEPA(ViT(8, 1, 24, 1, 2), MultiCrop(16, 8, 2), 0.1, 8, 16, 16, centre=centre), batch()  # type: ignore[arg-type]
    latents = [made.encoder.pooled(data[k].transpose(0, 1).flatten(0, 1)) for k in ("views", "local_views")]
    projected = made.projector(torch.cat(latents)).unflatten(0, (4, 4))
    middle = sum(projected[:views]) / views
    torch.testing.assert_close(made(data)["invariance"], (projected - middle).square().mean())


def test_masked_sigreg_weighs_its_terms() -> None:
    torch.manual_seed(0)
    terms = MaskedSIGReg(ViT(8, 1, 24, 1, 2), [TubeMask(2, 0.3)], PredictorOptions(12, 1, 2), 0.3, 8, 16)(batch())
    torch.testing.assert_close(terms["loss"], 0.3 * terms["sigreg"] + 0.7 * terms["error"])
    assert terms["error"] > 1e-3


def test_a_clip_of_one_tubelet_is_a_clip_to_masked_sigreg() -> None:
    torch.manual_seed(0)
    made = MaskedSIGReg(ViT(8, 2, 24, 2, 2, modalities=True), [TubeMask(2, 0.3)], PredictorOptions(12, 1, 2))
    for frames, row in ((1, 0), (2, 1)):
        made.zero_grad()
        clips = torch.randint(0, 256, (2, frames, 3, 32, 32), dtype=torch.uint8)
        made({"pixels": clips, "step": 0})["loss"].backward()
        for modality in (made.encoder.modality, made.predictor.modality):
            assert modality is not None and modality.grad is not None
            assert modality.grad.abs().sum(dim=1).gt(0).tolist() == [row == 0, row == 1]
