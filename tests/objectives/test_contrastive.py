"""Contrastive text: closed forms of both losses, chunks that change nothing, and locked towers."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from jepa_wm.contracts import Batch
from jepa_wm.encoders import ClipText, GridPool, ProjectedPool, TextAlignment, ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import ContrastiveText

SENTENCES = ["the left room", "the right room", "a red disc", "the top"]


def made(seed: int = 0, **options: Any) -> ContrastiveText:
    torch.manual_seed(seed)
    encoder = ViT(8, 1, 24, 1, 2, pooling=GridPool(6, 2))
    return ContrastiveText(encoder, TextAlignment(6, ClipText(8, 16, 1, 2)), **options)


def batch(step: int = 4) -> Batch:
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (4, 3, 3, 32, 32), dtype=torch.uint8)
    return {"pixels": pixels, "captions": [[f"{words} {t}" for t in range(3)] for words in SENTENCES], "step": step}


@torch.no_grad()
def similarities(objective: ContrastiveText, data: Batch) -> torch.Tensor:
    """Cosines of frame 1 of each clip with the captions of frame 1: it is their turn at step 4."""
    images = objective.text.image(objective.encoder.pooled(data["pixels"][:, 1])[:, None])
    return images @ objective.text.text([captions[1] for captions in data["captions"]]).T


def test_clip_is_the_symmetric_cross_entropy() -> None:
    objective, data = made(), batch()
    logits, labels = similarities(objective, data) / 0.07, torch.arange(4)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(objective(data)["loss"].detach(), expected, rtol=1e-4, atol=1e-4)


def test_siglip_is_the_sum_of_a_sigmoid_for_each_pair_over_the_pictures() -> None:
    objective, data = made(loss="siglip"), batch()
    logits = similarities(objective, data) * 10 - 10
    labels = 2 * torch.eye(4) - 1
    expected = torch.log1p((-labels * logits).exp()).sum() / 4
    torch.testing.assert_close(objective(data)["loss"].detach(), expected, rtol=1e-4, atol=1e-5)


def test_images_with_a_caption_each_are_taken_whole() -> None:
    objective, data = made(), batch()
    images = {"pixels": data["pixels"][:, 1], "captions": [captions[1] for captions in data["captions"]], "step": 9}
    torch.testing.assert_close(objective(images)["loss"], objective(data)["loss"])


@pytest.mark.parametrize(("value", "bound"), [(20.0, math.log(100.0)), (-1.0, 0.0)])
def test_the_temperature_is_brought_back_within_its_bounds_after_a_step(value: float, bound: float) -> None:
    objective, data = made(), batch()
    with torch.no_grad():
        objective.contrast.logit_scale.fill_(value)
    objective(data)["loss"].backward()
    assert objective.contrast.logit_scale.grad.abs() > 0  # type: ignore[union-attr]
    objective.after_step(0.5)
    assert objective.contrast.logit_scale.item() == pytest.approx(bound)


def test_a_batch_without_captions_is_refused() -> None:
    clips, pictures = ({"pixels": pixels, "step": 4} for pixels in (batch()["pixels"], batch()["pixels"][:, 0]))
    empty = {**clips, "captions": [[""] * 3 for _ in range(4)]}, {**pictures, "captions": [""] * 4}
    for data in (clips, pictures, *empty):
        with pytest.raises(UserError, match="without a single caption"):
            made()(data)


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_chunks_change_neither_loss_nor_gradient(loss: str) -> None:
    found = []
    for chunk in (None, 3, 1):
        objective = made(loss=loss, chunk=chunk, sigreg=0.1)
        value = objective(batch())["loss"]
        value.backward()
        found.append((value, [p.grad for p in objective.parameters() if p.grad is not None]))
    for value, gradients in found[1:]:
        torch.testing.assert_close(value, found[0][0])
        for gradient, whole in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(gradient, whole, rtol=1e-4, atol=1e-6)


def test_chunks_and_a_batch_norm_do_not_go_together() -> None:
    encoder = ViT(8, 1, 24, 1, 2, prefix=1, pooling=ProjectedPool(6, 16))
    text = TextAlignment(6, ClipText(8, 16, 1, 2))
    assert ContrastiveText(encoder, text)(batch())["loss"].isfinite()
    with pytest.raises(UserError, match="chunk: got 2, and a batch norm would see each chunk for itself"):
        ContrastiveText(encoder, text, chunk=2)


def test_chunks_hold_the_activations_of_one_chunk() -> None:
    """Bytes that autograd keeps between the passes: with chunks, next to none."""
    kept = {}
    for chunk in (None, 1):
        objective, data = made(chunk=chunk), batch()
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor, seen: dict[int, int] = seen) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        parameters = {p.untyped_storage().data_ptr() for p in objective.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            objective(data)
        kept[chunk] = sum(size for pointer, size in seen.items() if pointer not in parameters)
    assert kept[1] < 0.35 * kept[None]


@pytest.mark.parametrize("lock", ["image", "text"])
def test_what_is_locked_gets_no_gradient_and_the_rest_does(lock: str) -> None:
    objective = made(lock=lock)
    objective(batch())["loss"].backward()
    got = {
        "image": any(p.grad is not None for p in objective.encoder.parameters()),
        "text": any(p.grad is not None for p in objective.text.tower.parameters()),
    }
    assert got[lock] is False and got["image" if lock == "text" else "text"] is True
    assert all(p.grad is not None for p in objective.text.head.parameters())
    objective.train()
    assert [objective.encoder.training, objective.text.tower.training] == [lock == "text", lock == "image"]


def test_sigreg_is_added_with_its_weight() -> None:
    terms = made(sigreg=0.3)(batch())
    torch.testing.assert_close(terms["loss"], terms["contrast"] + 0.3 * terms["sigreg"])


def test_parts_that_do_not_fit_are_refused_with_both_sides() -> None:
    encoder = ViT(8, 1, 24, 1, 2, pooling=GridPool(6, 2))
    with pytest.raises(UserError, match="latent_dim is 6, the text's is 5"):
        ContrastiveText(encoder, TextAlignment(5, ClipText(8, 16, 1, 2)))
    with pytest.raises(UserError, match="got loss 'triplet'"):
        made(loss="triplet")
    assert math.isclose(made().contrast.logit_scale.exp().item(), 1 / 0.07, rel_tol=1e-6)
