"""Sentences and latents in one space."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from jepa_wm.checkpoint import save_modules
from jepa_wm.encoders import ClipText, TextAlignment, ViT, load_text
from jepa_wm.errors import UserError


@pytest.fixture(scope="module")
def text() -> TextAlignment:
    torch.manual_seed(0)
    return TextAlignment(6, ClipText(8, 16, 1, 2)).eval()


@torch.no_grad()
def test_a_sentence_is_a_unit_vector_whatever_stands_beside_it(text: TextAlignment) -> None:
    together = text.text(["the left room", "a much longer sentence about the right room"])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(text.text(["the left room"])[0], together[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(text.text(["the right room"])[0], together[0], atol=1e-3)


@torch.no_grad()
def test_similarity_is_the_cosine_of_head_and_sentence(text: TextAlignment) -> None:
    latents, sentence = torch.randn(2, 5, 3, 1, 6), text.text(["the left room", "the right room"])
    expected = torch.nn.functional.cosine_similarity(text.head(latents)[..., 0, :], sentence[:, None, None], dim=-1)
    torch.testing.assert_close(text.similarity(latents, sentence[:, None, None]), expected)


@torch.no_grad()
def test_saved_and_loaded(text: TextAlignment, tmp_path: Path) -> None:
    save_modules(tmp_path, {"text": text})
    torch.testing.assert_close(load_text(str(tmp_path)).text(["a"]), text.text(["a"]))
    save_modules(tmp_path / "wrong", {"text": ViT(dim=24, depth=1, heads=2)})
    with pytest.raises(UserError, match="expected a TextAlignment"):
        load_text(str(tmp_path / "wrong"))


def test_without_a_head_a_latent_is_its_own_vector() -> None:
    latents = torch.randn(3, 4, 8)
    text = TextAlignment(8, ClipText(8, 16, 1, 2), hidden=None)
    torch.testing.assert_close(text.image(latents), F.normalize(latents.mean(dim=1), dim=-1))
    assert not list(text.head.parameters())
    with pytest.raises(UserError, match="got latents of width 6, vectors of width 8 and no head"):
        TextAlignment(6, ClipText(8, 16, 1, 2), hidden=None)
