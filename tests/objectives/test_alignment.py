"""Alignment to a teacher: what the teacher is shown."""

import pytest
import torch
import torch.nn.functional as F

from jepa_wm.encoders import Preprocessing, ViT
from jepa_wm.objectives import TeacherAlignment
from jepa_wm.objectives.alignment import regrid


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 32), (32, 64)])
@torch.no_grad()
def test_a_teacher_for_smaller_pictures_sees_the_whole_one_squeezed(height: int, width: int) -> None:
    """Of its nearest pixels, each second one of a side of 64; a crop of half the picture would lose its rim."""
    torch.manual_seed(0)
    teacher = ViT(8, 1, 24, 1, 2, preprocessing=Preprocessing(32, 0.5, "nearest"))
    made = TeacherAlignment(ViT(16, 1, 24, 1, 2), teacher, resize=True)
    pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    squeezed = pixels[..., :: height // 32, :: width // 32]
    tokens = regrid(teacher(squeezed), (1, 4, 4), (1, height // 16, width // 16))
    said = [F.layer_norm(x, (24,)) for x in (tokens, teacher.pooled(squeezed))]
    made.patch_head.forward, made.pooled_head.forward = (lambda x, y=y: y for y in said)
    terms = made({"pixels": pixels, "step": 0})
    assert terms["loss"].item() == pytest.approx(0.0, abs=1e-5) and terms["cosine"].item() == pytest.approx(1.0)


@torch.no_grad()
def test_nothing_at_the_rim_is_cut_off() -> None:
    torch.manual_seed(0)
    teacher = ViT(8, 1, 24, 1, 2, preprocessing=Preprocessing(16, 0.5))
    made = TeacherAlignment(ViT(8, 1, 24, 1, 2), teacher, resize=True)
    made.patch_head.forward = lambda x: torch.ones(2, 16, 24).cumsum(dim=-1)  # whatever the student sees
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    whole = made({"pixels": pixels, "step": 0})["patches"]
    for rim in ((..., 0), (..., -1), (..., 0, slice(None)), (..., -1, slice(None))):
        other = pixels.clone()
        other[rim] = 255 - other[rim]
        assert made({"pixels": other, "step": 0})["patches"] != whole


@torch.no_grad()
def test_each_step_takes_the_next_frame_of_a_clip() -> None:
    torch.manual_seed(0)
    made = TeacherAlignment(ViT(8, 1, 24, 1, 2), ViT(8, 1, 24, 1, 2))
    clips = torch.randint(0, 256, (2, 3, 3, 16, 16), dtype=torch.uint8)
    frames = [made({"pixels": clips[:, frame], "step": 0})["loss"].item() for frame in range(3)]
    assert len(set(frames)) == 3
    assert [made({"pixels": clips, "step": step})["loss"].item() for step in range(5)] == [*frames, *frames[:2]]
