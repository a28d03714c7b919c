"""Masked latent prediction: what is compared with what, and what the predictor may know."""

import pytest
import torch
import torch.nn.functional as F

from jepa_wm.contracts import Batch
from jepa_wm.data.masks import Mask, TubeMask
from jepa_wm.encoders import Rope, SinCos, ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import MaskedLatentPrediction, MaskedSIGReg, PredictorOptions
from jepa_wm.objectives.masked import ImageSteps, distances
from jepa_wm.objectives.predictor import at
from jepa_wm.schedules import Constant, Linear

SMALL = PredictorOptions(12, 1, 2)


@pytest.fixture
def encoder() -> ViT:
    torch.manual_seed(0)
    return ViT(8, 1, 24, 1, 2)


def batch(step: int = 0, progress: float = 0.0) -> Batch:
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (4, 3, 3, 32, 32), dtype=torch.uint8)
    return {"pixels": pixels, "step": step, "progress": progress}


def objective(encoder: ViT, context: Constant | None = None) -> MaskedLatentPrediction:
    return MaskedLatentPrediction(encoder, [TubeMask(4, 0.15)], SMALL, Linear(0.5, 1.0), context=context)


def silence(part: torch.nn.Linear) -> None:
    torch.nn.init.zeros_(part.weight)
    torch.nn.init.zeros_(part.bias)


@pytest.mark.parametrize("error", ["l1", "smooth_l1"])
def test_the_loss_is_the_mean_error_to_the_normalised_teacher(encoder: ViT, error: str) -> None:
    made = MaskedLatentPrediction(encoder, [TubeMask(4, 0.15)], SMALL, error=error)  # type: ignore[arg-type]
    data = batch(3)
    silence(made.predictor.leave)
    with torch.no_grad():
        made.teacher.embed.weight.mul_(-1.0)
        target = F.layer_norm(made.teacher(data["pixels"]), (24,))
        mask = TubeMask(4, 0.15).sample((3, 4, 4), 4, torch.Generator().manual_seed(3))
        hidden = at(target, mask.predict).abs()
    expected = hidden if error == "l1" else torch.where(hidden < 1, hidden.square() / 2, hidden - 0.5)
    torch.testing.assert_close(made(data)["loss"], expected.mean())


def test_visible_tokens_count_by_their_distance_and_by_the_scheduled_weight(encoder: ViT) -> None:
    made, data = objective(encoder, Constant(0.7)), batch(3, 0.5)
    silence(made.predictor.leave)
    silence(made.predictor.leave_context)  # type: ignore[arg-type]
    with torch.no_grad():
        target = F.layer_norm(made.teacher(data["pixels"]), (24,))
        mask = TubeMask(4, 0.15).sample((3, 4, 4), 4, torch.Generator().manual_seed(3))
        seen = at(target, mask.keep).abs().mean(dim=-1)
        places = torch.stack(torch.meshgrid(*map(torch.arange, (3, 4, 4)), indexing="ij"), -1).reshape(48, 3).float()
        for sample in range(4):
            for k, token in enumerate(mask.keep[sample]):
                away = (places[mask.predict[sample, 0]] - places[token]).norm(dim=1).min()
                seen[sample, k] /= away.sqrt()
    terms = made(data)
    torch.testing.assert_close(terms["visible"], seen.mean())
    torch.testing.assert_close(terms["loss"], terms["hidden"] + 0.7 * terms["visible"])


def test_distances_are_to_the_nearest_hidden_token_of_each_group() -> None:
    mask = Mask(torch.tensor([[0, 5]]), torch.tensor([[[3], [6]]]))
    # On a grid of 2 x 4: 0 is at (0, 0), 5 at (1, 1), 3 at (0, 3), 6 at (1, 2).
    expected = torch.tensor([[[3.0, 5**0.5], [5**0.5, 1.0]]])
    torch.testing.assert_close(distances(mask, (1, 2, 4)), expected)


def test_the_teacher_follows_by_the_scheduled_decay(encoder: ViT) -> None:
    made = objective(encoder)
    before = made.teacher.embed.weight.clone()
    with torch.no_grad():
        encoder.embed.weight.add_(1.0)
    made.after_step(0.5)
    torch.testing.assert_close(made.teacher.embed.weight, before + 0.25)
    made.after_step(1.0)
    torch.testing.assert_close(made.teacher.embed.weight, before + 0.25)


@pytest.mark.parametrize("positions", [SinCos(), Rope()], ids=["sincos", "rope"])
def test_a_prediction_belongs_to_its_place_and_to_what_is_visible(positions: SinCos) -> None:
    torch.manual_seed(0)
    predictor = objective(ViT(8, 1, 24, 1, 2, positions=positions)).predictor
    torch.nn.init.normal_(predictor.mask_token)
    # At first attention hardly tells tokens apart.
    for block in predictor.blocks:
        block.attn.qkv.weight.data *= 30
    keep, predict = torch.tensor([[0, 3]]), torch.tensor([[[1, 2]]])
    tokens = torch.randn(1, 2, 24) * 3
    first, _ = predictor(tokens, keep, predict, (1, 2, 2))
    swapped, _ = predictor(tokens, keep, predict.flip(2), (1, 2, 2))
    torch.testing.assert_close(swapped, first.flip(2))
    assert not torch.allclose(first[..., 0, :], first[..., 1, :], atol=1e-5)
    other, _ = predictor(tokens.flip(2), keep, predict, (1, 2, 2))
    assert not torch.allclose(other, first, atol=1e-5)


def test_each_group_is_predicted_by_itself(encoder: ViT) -> None:
    predictor = objective(encoder).predictor
    keep, tokens = torch.tensor([[0, 3]]), torch.randn(1, 2, 24)
    both, _ = predictor(tokens, keep, torch.tensor([[[1], [2]]]), (1, 2, 2))
    for group, place in enumerate((1, 2)):
        alone, _ = predictor(tokens, keep, torch.tensor([[[place]]]), (1, 2, 2))
        torch.testing.assert_close(both[:, group], alone[:, 0])


def test_the_predictor_of_several_levels_predicts_them_all() -> None:
    torch.manual_seed(0)
    made = MaskedLatentPrediction(ViT(8, 1, 24, 3, 2, levels=(0, 1)), [TubeMask(4, 0.15)], SMALL)
    data = batch(3)
    silence(made.predictor.leave)
    with torch.no_grad():
        encoded = made.teacher.encode(data["pixels"])
        target = torch.cat([F.layer_norm(level, (24,)) for level in (*encoded.levels, encoded.patches)], dim=-1)
        mask = TubeMask(4, 0.15).sample((3, 4, 4), 4, torch.Generator().manual_seed(3))
    torch.testing.assert_close(made(data)["loss"], at(target, mask.predict).abs().mean())


def test_without_a_teacher_prediction_and_target_move_towards_each_other(encoder: ViT) -> None:
    data = batch(3)
    found = []
    for detach in (False, True):
        made = MaskedSIGReg(encoder, [TubeMask(4, 0.15)], SMALL, weight=0.0, width=8, detach=detach)
        silence(made.predictor.leave)
        encoder.zero_grad()
        terms = made(data)
        torch.testing.assert_close(terms["loss"], terms["error"])
        terms["loss"].backward()
        found.append(encoder.embed.weight.grad)
    # A predictor that says nothing passes no gradient on: what reaches the encoder came through the target.
    assert found[0] is not None and found[0].abs().sum() > 0
    assert found[1] is None or found[1].abs().sum() == 0


def test_tokens_that_say_where_they_are_and_nothing_else_count_as_collapsed(encoder: ViT) -> None:
    """Of the same picture four times, tokens differ by their place alone: SIGReg sees zeros, each of them."""
    data = batch(3)
    same = {**data, "pixels": data["pixels"][:1].repeat(4, 1, 1, 1, 1)}
    made = MaskedSIGReg(encoder, [TubeMask(4, 0.15)], SMALL, width=8, slices=16)
    collapsed = made.gaussianity(torch.zeros(1, 4 * 3 * 16, 8), 3)
    torch.testing.assert_close(made(same)["sigreg"], collapsed, rtol=1e-4, atol=0.0)
    assert made(data)["sigreg"] < 0.99 * collapsed


def test_wrong_words_are_refused(encoder: ViT) -> None:
    with pytest.raises(UserError, match="got 'l2'; expected one of l1, smooth_l1"):
        MaskedLatentPrediction(encoder, error="l2")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="got none"):
        MaskedLatentPrediction(encoder, [])
    with pytest.raises(UserError, match="got none"):
        MaskedSIGReg(encoder, [])
    with pytest.raises(UserError, match="share between 0 and 1"):
        ImageSteps(2.0)
    with pytest.raises(UserError, match="expected one at least"):
        ImageSteps(masks=[])
    with pytest.raises(UserError, match="expected `context` for clips"):
        MaskedLatentPrediction(encoder, images=ImageSteps(context=Constant(0.7)))


def test_clips_are_images_in_a_share_of_the_steps() -> None:
    torch.manual_seed(0)
    made = MaskedLatentPrediction(
        ViT(8, 2, 24, 2, 2, modalities=True), [TubeMask(2, 0.3)], SMALL, images=ImageSteps(0.25)
    )
    clips = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    taken = []
    for step in range(16):
        both = made({"pixels": clips, "step": step, "progress": 0.0})["loss"]
        alone = [made({"pixels": clips[:, frame], "step": step, "progress": 0.0})["loss"] for frame in range(4)]
        taken.append([frame for frame in range(4) if alone[frame] == both])
    # Every fourth step, and each time the next frame.
    assert taken == [[], [], [], [0], [], [], [], [1], [], [], [], [2], [], [], [], [3]]


def test_images_have_masks_and_a_weight_of_their_own() -> None:
    torch.manual_seed(0)
    encoder = ViT(8, 2, 24, 2, 2, modalities=True)
    own, weight = [TubeMask(1, 0.2)], Constant(0.9)
    images = ImageSteps(0.0, own, weight)
    made = MaskedLatentPrediction(encoder, [TubeMask(2, 0.5)], SMALL, context=Constant(0.3), images=images)
    clips = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    for pixels, masks, share in ((clips, made.masks, 0.3), (clips[:, 0], own, 0.9), (clips[:, :1], own, 0.9)):
        terms = made({"pixels": pixels, "step": 1, "progress": 0.0})
        torch.testing.assert_close(terms["loss"], terms["hidden"] + share * terms["visible"])
        alone = MaskedLatentPrediction(encoder, masks, SMALL, context=Constant(share))
        alone.load_state_dict(made.state_dict())
        torch.testing.assert_close(alone({"pixels": pixels, "step": 1, "progress": 0.0}), terms)


def test_a_clip_of_one_tubelet_is_a_clip_to_encoder_and_predictor() -> None:
    torch.manual_seed(0)
    made = MaskedLatentPrediction(ViT(8, 2, 24, 2, 2, modalities=True), [TubeMask(2, 0.3)], SMALL)
    for frames, row in ((1, 0), (2, 1)):
        made.zero_grad()
        clips = torch.randint(0, 256, (2, frames, 3, 32, 32), dtype=torch.uint8)
        made({"pixels": clips, "step": 0, "progress": 0.0})["loss"].backward()
        for modality in (made.encoder.modality, made.predictor.modality):
            assert modality is not None and modality.grad is not None
            assert modality.grad.abs().sum(dim=1).gt(0).tolist() == [row == 0, row == 1]
