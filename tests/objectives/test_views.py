"""LeJEPA, self-distillation and alignment to a teacher: what the golden numbers leave open."""

import copy
from collections.abc import Callable

import pytest
import torch

from jepa_wm.contracts import Batch
from jepa_wm.data.masks import BlockwiseMask
from jepa_wm.data.transforms import MultiCrop
from jepa_wm.encoders import ClassPool, ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import GramAnchor, LeJEPA, PrototypeOptions, SelfDistillation, TeacherAlignment
from jepa_wm.objectives.alignment import regrid
from jepa_wm.schedules import Constant, Linear


def batch(progress: float = 0.5) -> Batch:
    torch.manual_seed(1)
    views, small = (torch.randint(0, 256, (4, 2, 3, s, s), dtype=torch.uint8) for s in (16, 8))
    return {"views": views, "local_views": small, "pixels": views[:, 0], "step": 2, "progress": progress}


def distillation(gram: GramAnchor | None = None) -> SelfDistillation:
    torch.manual_seed(0)
    encoder = ViT(8, 1, 24, 1, 2, prefix=1, pooling=ClassPool())
    return SelfDistillation(
        encoder, MultiCrop(16, 8, 2), PrototypeOptions(16, 12, 8), BlockwiseMask(ratio=(0.4, 0.6)), gram=gram
    )


def test_lejepa_pulls_views_to_their_centre_and_all_of_them_to_a_gaussian() -> None:
    torch.manual_seed(0)
    objective, data = LeJEPA(ViT(8, 1, 24, 1, 2), MultiCrop(16, 8, 2), 0.1, 8, 16, 16), batch()
    terms = objective(data)
    torch.testing.assert_close(terms["loss"], 0.1 * terms["sigreg"] + 0.9 * terms["invariance"])
    latents = torch.cat(
        [objective.encoder.pooled(data[k].transpose(0, 1).flatten(0, 1)) for k in ("views", "local_views")]
    )
    projected = objective.projector(latents).unflatten(0, (4, 4))
    centre = (projected[0] + projected[1]) / 2
    expected = sum((view - centre).square().mean() for view in projected) / 4
    torch.testing.assert_close(terms["invariance"], expected)


def test_views_that_are_missing_are_asked_for() -> None:
    with pytest.raises(UserError, match="no 'views'"):
        LeJEPA(ViT(8, 1, 24, 1, 2))({"pixels": torch.zeros(1), "step": 0})


def test_the_student_does_not_see_hidden_patches() -> None:
    objective, data = distillation(), batch()
    hidden = objective._hidden(data["views"].transpose(0, 1), 2)
    assert hidden.any() and not hidden.all()
    pixels = data["views"].transpose(0, 1).flatten(0, 1)
    cells = hidden.view(-1, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
    other = torch.where(cells, 255 - pixels, pixels)
    torch.testing.assert_close(
        objective._encode_masked(pixels, hidden).patches, objective._encode_masked(other, hidden).patches
    )


def test_half_of_all_views_hide_patches_each_view_its_own_and_each_step_others() -> None:
    objective, large = distillation(), torch.zeros(2, 8, 3, 32, 32)
    whole = objective._hidden(large, 2)
    counts = whole.sum(dim=1)
    # Shares spread from .4 to .6 of 16 patches over eight masked views.
    edges = (16 * torch.linspace(0.4, 0.6, 9)).tolist()
    masked = counts[counts > 0].sort().values.tolist()
    assert len(masked) == 8
    assert all(low - 0.5 <= count <= high + 0.5 for low, count, high in zip(edges, masked, edges[1:], strict=False))
    assert not torch.equal(whole[:8], whole[8:]) and not torch.equal(whole, objective._hidden(large, 3))


def hidden(rank: int, samples: int) -> torch.Tensor:
    return distillation()._hidden(torch.zeros(2, samples, 3, 32, 32), 2)


def test_the_masks_of_a_rank_are_its_share_of_those_of_the_whole_batch(on_two_ranks: Callable) -> None:
    # Rows are all samples' first views, then their second ones; a rank has four of the eight samples.
    shares = [found.unflatten(0, (2, 4)) for found in on_two_ranks(hidden, 4)]
    assert torch.equal(torch.cat(shares, dim=1).flatten(0, 1), hidden(0, 8))


def test_the_teacher_follows_and_the_anchor_is_taken_when_its_weight_rises() -> None:
    objective = distillation(GramAnchor(Linear(-1.0, 1.0), every=0.25))
    objective.gram.weight = lambda progress: max(0.0, progress - 0.5)  # type: ignore[union-attr]
    first = copy.deepcopy(objective.anchor.state_dict())  # type: ignore[union-attr]

    def step(progress: float) -> None:
        with torch.no_grad():
            for parameter in objective.student.parameters():
                parameter.add_(0.1)
            objective.after_step(progress)
            objective(batch(progress))

    def same(a: dict, b: dict) -> bool:
        return all(torch.equal(a[name], b[name]) for name in a)

    step(0.5)
    assert same(objective.anchor.state_dict(), first)  # type: ignore[union-attr]
    step(0.6)
    taken = copy.deepcopy(objective.anchor.state_dict())  # type: ignore[union-attr]
    assert same(taken, objective.teacher.encoder.state_dict()) and not same(taken, first)
    step(0.7)
    assert same(objective.anchor.state_dict(), taken)  # type: ignore[union-attr]
    step(0.9)
    assert same(objective.anchor.state_dict(), objective.teacher.encoder.state_dict())  # type: ignore[union-attr]


def test_a_resumed_run_knows_when_its_anchor_was_taken_and_one_that_begins_anew_takes_another() -> None:
    first, resumed = (distillation(GramAnchor(Constant(1.0), every=0.25)) for _ in range(2))
    first(batch(0.5))
    assert all(isinstance(value, torch.Tensor) for value in first.state_dict().values())
    resumed.load_state_dict(first.state_dict())
    with torch.no_grad():
        for parameter in resumed.teacher.parameters():
            parameter.add_(0.1)
    teacher, anchor = resumed.teacher.encoder.norm.bias, resumed.anchor.norm.bias  # type: ignore[union-attr]
    for progress, taken in ((0.6, False), (0.1, True)):
        resumed(batch(progress))
        assert torch.equal(teacher, anchor) == taken


def test_views_that_patches_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="multiples of the encoder's patch 8"):
        SelfDistillation(ViT(8, 1, 24, 1, 2), MultiCrop(20, 8))


def test_a_student_that_says_what_the_teacher_says_has_no_loss_left() -> None:
    torch.manual_seed(0)
    teacher = ViT(8, 1, 24, 1, 2)
    objective = TeacherAlignment(ViT(8, 1, 24, 1, 2), teacher)
    data = {"pixels": batch()["pixels"], "step": 0}
    tokens, latents = teacher(data["pixels"]), teacher.pooled(data["pixels"])
    said = [torch.nn.functional.layer_norm(x, (24,)) for x in (tokens, latents)]
    objective.patch_head.forward, objective.pooled_head.forward = (lambda x, y=y: y for y in said)
    terms = objective(data)
    assert terms["loss"].item() == pytest.approx(0.0, abs=1e-5) and terms["cosine"].item() == pytest.approx(1.0)


def test_distance_to_a_teacher_is_mostly_the_angle_and_a_little_the_length() -> None:
    torch.manual_seed(0)
    objective = TeacherAlignment(ViT(8, 1, 24, 1, 2), ViT(8, 1, 24, 1, 2).eval(), patches=0.5, pooled=2.0)
    pixels = batch()["pixels"]
    terms = objective({"pixels": pixels, "step": 0})
    wanted = objective.teacher(pixels)
    wanted = (wanted - wanted.mean(-1, keepdim=True)) / (wanted.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    said = objective.patch_head(objective.encoder(pixels))
    cosine = ((said * wanted).sum(-1) / said.norm(dim=-1) / wanted.norm(dim=-1)).mean()
    away = (said - wanted).abs()
    length = torch.where(away < 1, away.square() / 2, away - 0.5).mean()
    torch.testing.assert_close(terms["patches"], 0.9 * (1 - cosine) + 0.1 * length)
    torch.testing.assert_close(terms["loss"], 0.5 * terms["patches"] + 2.0 * terms["pooled"])


def test_the_teacher_stays_as_it_is_and_in_eval_mode() -> None:
    objective = TeacherAlignment(ViT(8, 1, 24, 1, 2), ViT(16, 1, 32, 1, 2)).train()
    assert not objective.teacher.training and objective.encoder.training
    objective({"pixels": batch()["pixels"], "step": 0})["loss"].backward()
    assert all(p.grad is None for p in objective.teacher.parameters())
    assert all(p.grad is not None for p in objective.patch_head.parameters())


def test_tokens_of_a_finer_grid_are_averaged_over_a_coarser_one() -> None:
    tokens = torch.arange(16.0).view(1, 16, 1)
    coarse = regrid(tokens, (1, 4, 4), (1, 2, 2))[0, :, 0]
    assert coarse[0] < coarse[1] < coarse[2] < coarse[3] and coarse.mean().item() == pytest.approx(7.5)
