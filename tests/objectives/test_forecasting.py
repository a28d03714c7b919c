"""Forecasting: closed forms, and who gets gradient."""

import pytest
import torch

from jepa_wm.contracts import Batch
from jepa_wm.dynamics import TransformerDynamics
from jepa_wm.encoders import GridPool, PooledFrames, ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import Forecasting
from jepa_wm.objectives.terms import GaussianLatents


@pytest.fixture
def encoder() -> ViT:
    torch.manual_seed(0)
    return ViT(8, 1, 24, 1, 2, pooling=GridPool(6, 2))


def dynamics() -> TransformerDynamics:
    return TransformerDynamics(6, (1, 1), 2, 3, width=12, depth=1, heads=2)


def batch() -> Batch:
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (4, 3, 3, 32, 32), dtype=torch.uint8)
    return {"pixels": pixels, "actions": torch.randn(4, 2, 6), "step": 0}


def test_a_still_model_errs_by_how_far_the_latents_move(encoder: ViT) -> None:
    terms, data = Forecasting(encoder, dynamics(), {"sigreg": GaussianLatents(0.2)})(batch()), batch()
    z = PooledFrames()(encoder, data["pixels"])
    torch.testing.assert_close(terms["one_step"], (z[:, 1:] - z[:, :-1]).square().mean())
    torch.testing.assert_close(terms["rollout"], (z[:, 1:] - z[:, :1]).square().mean())
    assert terms["rollout_relative"].item() == pytest.approx(1.0)
    torch.testing.assert_close(terms["loss"], terms["one_step"] + terms["rollout"] + 0.2 * terms["sigreg"])


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_encoder_gets_no_gradient(encoder: ViT, freeze: bool) -> None:
    predictor = dynamics()
    Forecasting(encoder, predictor, freeze_encoder=freeze)(batch())["loss"].backward()
    assert (encoder.embed.weight.grad is None) == freeze
    assert predictor.leave.weight.grad is not None


def test_the_dynamics_learn_the_spread_of_the_actions(encoder: ViT) -> None:
    predictor = dynamics()
    Forecasting(encoder, predictor).prepare({"action_mean": [1.0, 2.0], "action_std": [3.0, 4.0]})
    assert predictor.actions.standard.mean.tolist() == [1.0, 2.0]
    assert predictor.actions.standard.std.tolist() == [3.0, 4.0]


def test_parts_that_do_not_fit_are_refused_with_both_sides(encoder: ViT) -> None:
    with pytest.raises(UserError, match="latents are 6 wide, the dynamics' latent_dim is 5"):
        Forecasting(encoder, TransformerDynamics(5))
    with pytest.raises(UserError, match="blocks are 6 wide; expected 10"):
        Forecasting(encoder, TransformerDynamics(6, frame_skip=5, width=12, depth=1, heads=2))(batch())
