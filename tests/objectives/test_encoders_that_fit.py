"""Objectives that take tokens apart want an encoder that gives them; those that want a latent take any."""

import pytest
import torch

from jepa_wm.encoders import TimmEncoder, ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import LeJEPA, MaskedLatentPrediction, MaskedSIGReg, SelfDistillation, TeacherAlignment


@pytest.fixture(scope="module")
def timm_encoder() -> TimmEncoder:
    torch.manual_seed(0)
    return TimmEncoder("test_vit")


@pytest.mark.parametrize("objective", [MaskedLatentPrediction, MaskedSIGReg, SelfDistillation])
def test_an_adapter_is_refused(objective: type, timm_encoder: TimmEncoder) -> None:
    with pytest.raises(UserError, match=f"{objective.__name__}: got a TimmEncoder for the encoder; expected a ViT"):
        objective(timm_encoder)


def test_an_adapter_may_teach_and_learn_latents(timm_encoder: TimmEncoder) -> None:
    student = ViT(8, 1, 24, 1, 2)
    TeacherAlignment(student, timm_encoder)
    LeJEPA(timm_encoder, width=4, hidden=8)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="TeacherAlignment: got a TimmEncoder"):
        TeacherAlignment(timm_encoder, student)  # type: ignore[arg-type]
