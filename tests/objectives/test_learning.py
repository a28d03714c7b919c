"""Objectives: closed forms, who gets gradient, and what each may see."""

import math

import pytest
import torch
import torch.nn.functional as F

from jepa_wm.contracts import Batch
from jepa_wm.data.masks import TubeMask
from jepa_wm.dynamics import TransformerDynamics
from jepa_wm.encoders import ClipText, GridPool, TextAlignment, ViT, encode_frames
from jepa_wm.errors import UserError
from jepa_wm.objectives import ContrastiveText, Forecasting, MaskedLatentPrediction


@pytest.fixture
def encoder() -> ViT:
    torch.manual_seed(0)
    return ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))


def batch(step: int = 0, clips: int = 4) -> Batch:
    torch.manual_seed(1)
    sentences = ["the left room", "the right room", "a red disc", "the top"]
    return {
        "pixels": torch.randint(0, 256, (clips, 3, 3, 32, 32), dtype=torch.uint8),
        "actions": torch.randn(clips, 2, 6),
        "captions": [[f"{sentences[i % 4]} {t}" for t in range(3)] for i in range(clips)],
        "step": step,
    }


class TestMasked:
    def objective(self, encoder: ViT) -> MaskedLatentPrediction:
        return MaskedLatentPrediction(encoder, (4,), (0.15,), 12, 1, 2, decay=(0.5, 1.0))

    def test_the_loss_is_the_mean_absolute_error_to_the_normalised_teacher(self, encoder: ViT) -> None:
        objective = self.objective(encoder)
        data = batch(3)
        with torch.no_grad():
            objective.teacher.embed.weight.mul_(-1.0)
            for part in (objective.predictor.leave[1].weight, objective.predictor.leave[1].bias):
                part.zero_()
            target = F.layer_norm(objective.teacher(data["pixels"]), (24,))
            mask = objective.masks[0].sample((3, 4, 4), 4, torch.Generator().manual_seed(3))
            hidden = target.gather(1, mask.predict[..., None].expand(-1, -1, 24))
        torch.testing.assert_close(objective(data)["loss"], hidden.abs().mean())

    def test_gradient_reaches_encoder_and_predictor_and_never_the_teacher(self, encoder: ViT) -> None:
        objective = self.objective(encoder)
        objective(batch())["loss"].backward()
        assert encoder.embed.weight.grad is not None and encoder.embed.weight.grad.abs().sum() > 0
        assert all(parameter.grad is None for parameter in objective.teacher.parameters())

    def test_the_teacher_follows_by_the_scheduled_decay(self, encoder: ViT) -> None:
        objective = self.objective(encoder)
        before = objective.teacher.embed.weight.clone()
        with torch.no_grad():
            encoder.embed.weight.add_(1.0)
        objective.after_step(0.5)
        torch.testing.assert_close(objective.teacher.embed.weight, before + 0.25)
        objective.after_step(1.0)
        torch.testing.assert_close(objective.teacher.embed.weight, before + 0.25)

    def test_a_prediction_belongs_to_its_place_and_to_what_is_visible(self, encoder: ViT) -> None:
        predictor = self.objective(encoder).predictor
        torch.nn.init.normal_(predictor.mask_token)
        keep, predict = torch.tensor([[0, 3]]), torch.tensor([[1, 2]])
        tokens = torch.randn(1, 2, 24)
        first = predictor(tokens, keep, predict, (1, 2, 2))
        swapped = predictor(tokens, keep, predict.flip(1), (1, 2, 2))
        torch.testing.assert_close(swapped, first.flip(1))
        assert not torch.allclose(first[:, 0], first[:, 1], atol=1e-4)
        assert not torch.allclose(predictor(tokens + 1.0, keep, predict, (1, 2, 2)), first, atol=1e-4)

    def test_masks_belong_to_the_step(self, encoder: ViT) -> None:
        objective = self.objective(encoder)
        losses = [objective(batch(step))["loss"].item() for step in (5, 5, 6)]
        assert losses[0] == losses[1] != losses[2]


class TestTubeMask:
    def test_it_parts_the_tokens_alike_in_every_frame_and_sample(self) -> None:
        mask = TubeMask(8, 0.15).sample((3, 6, 5), 50, torch.Generator().manual_seed(0))
        hidden = round((1 - 0.85**8) * 30)
        assert mask.predict.shape == (50, 3 * hidden)
        assert torch.equal(torch.cat(mask, dim=1).sort(dim=1).values, torch.arange(90).expand(50, -1))
        frames = mask.predict.unflatten(1, (3, hidden))
        torch.testing.assert_close(frames - torch.arange(3)[:, None] * 30, frames[:, :1].expand(-1, 3, -1))

    @pytest.mark.parametrize(("blocks", "scale"), [(8, 0.15), (2, 0.7), (1, 0.3)])
    def test_it_favours_no_side_and_reaches_every_cell(self, blocks: int, scale: float) -> None:
        count = 6000
        mask = TubeMask(blocks, scale).sample((1, 6, 6), count, torch.Generator().manual_seed(0))
        rate = torch.bincount(mask.predict.flatten(), minlength=36).reshape(6, 6) / count
        spread = 5 * (rate * (1 - rate) / count).sqrt() * math.sqrt(2)
        for flipped in (rate.flip(0), rate.flip(1), rate.flip(0, 1)):
            assert ((rate - flipped).abs() < spread + 1e-9).all()
        assert (rate > 0.05).all() and (rate < 0.999).all()


class TestContrastive:
    def test_it_is_the_symmetric_cross_entropy_of_one_frame(self, encoder: ViT) -> None:
        text = TextAlignment(6, ClipText(8, 16, 1, 2))
        objective, data = ContrastiveText(encoder, text), batch(4)
        with torch.no_grad():
            images = text.image(encoder.pool(encoder(data["pixels"][:, 1]))[:, None])
            logits = images @ text.text([captions[1] for captions in data["captions"]]).T / 0.07
            labels = torch.arange(4)
            expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        torch.testing.assert_close(objective(data)["loss"], expected, rtol=1e-4, atol=1e-4)

    def test_sigreg_is_added_with_its_weight(self, encoder: ViT) -> None:
        terms = ContrastiveText(encoder, TextAlignment(6, ClipText(8, 16, 1, 2)), sigreg=0.3)(batch())
        torch.testing.assert_close(terms["loss"], terms["contrast"] + 0.3 * terms["sigreg"])


class TestForecasting:
    def test_a_still_model_errs_by_how_far_the_latents_move(self, encoder: ViT) -> None:
        dynamics = TransformerDynamics(6, 1, 2, 3, width=12, depth=1, heads=2)
        terms, data = Forecasting(encoder, dynamics, sigreg=0.2)(batch()), batch()
        z = encode_frames(encoder, data["pixels"])
        torch.testing.assert_close(terms["one_step"], (z[:, 1:] - z[:, :-1]).square().mean())
        torch.testing.assert_close(terms["rollout"], (z[:, 1:] - z[:, :1]).square().mean())
        assert terms["rollout_relative"].item() == pytest.approx(1.0)
        torch.testing.assert_close(terms["loss"], terms["one_step"] + terms["rollout"] + 0.2 * terms["sigreg"])

    @pytest.mark.parametrize("freeze", [True, False])
    def test_a_frozen_encoder_gets_no_gradient(self, encoder: ViT, freeze: bool) -> None:
        dynamics = TransformerDynamics(6, 1, 2, 3, width=12, depth=1, heads=2)
        Forecasting(encoder, dynamics, freeze_encoder=freeze)(batch())["loss"].backward()
        assert (encoder.embed.weight.grad is None) == freeze
        assert dynamics.leave.weight.grad is not None

    def test_the_dynamics_learn_the_spread_of_the_actions(self, encoder: ViT) -> None:
        dynamics = TransformerDynamics(6, 1, 2, 3, width=12, depth=1, heads=2)
        Forecasting(encoder, dynamics).prepare({"action_mean": [1.0, 2.0], "action_std": [3.0, 4.0]})
        assert dynamics.actions.mean.tolist() == [1.0, 2.0] and dynamics.actions.std.tolist() == [3.0, 4.0]


def test_parts_that_do_not_fit_are_refused_with_both_sides(encoder: ViT) -> None:
    with pytest.raises(UserError, match="2 blocks and 1 scales"):
        MaskedLatentPrediction(encoder, (8, 2), (0.15,))
    with pytest.raises(UserError, match="latent_dim is 6, the text's is 5"):
        ContrastiveText(encoder, TextAlignment(5, ClipText(8, 16, 1, 2)))
    with pytest.raises(UserError, match="latent_dim is 6, the dynamics' is 5"):
        Forecasting(encoder, TransformerDynamics(5))
    with pytest.raises(UserError, match="blocks are 6 wide; expected 10"):
        Forecasting(encoder, TransformerDynamics(6, frame_skip=5, width=12, depth=1, heads=2))(batch())
