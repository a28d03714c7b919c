"""Forecasting: closed forms, and who gets gradient."""

import pytest
import torch

from jepa_wm.contracts import Batch
from jepa_wm.dynamics import Ensemble, TransformerDynamics, Trunk, rollout, rollouts
from jepa_wm.dynamics.calibration import Calibration, signs_of
from jepa_wm.dynamics.heads import ValueHead
from jepa_wm.encoders import GridPool, PooledFrames, StateFrames, ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import Forecasting, Rollout
from jepa_wm.objectives.terms import GaussianLatents, HeadTerm, TimeSimilarity


@pytest.fixture
def encoder() -> ViT:
    torch.manual_seed(0)
    return ViT(8, 1, 24, 1, 2, pooling=GridPool(6, 2))


def dynamics() -> TransformerDynamics:
    return TransformerDynamics(6, (1, 1), 2, 3, trunk=Trunk(12, 1, 2))


def batch(seed: int = 1) -> Batch:
    torch.manual_seed(seed)
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


def lively() -> TransformerDynamics:
    """A dynamics under which latents move."""
    made = dynamics()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def test_a_rollout_begins_with_what_is_seen_and_errors_have_weights(encoder: ViT) -> None:
    predictor, data = lively(), batch()
    terms = {"slow": TimeSimilarity(0.25)}
    made = Forecasting(encoder, predictor, terms, forced=0.5, rollout=Rollout(2.0, seen=2))
    with torch.no_grad():
        found, z, actions = made(data), PooledFrames()(encoder, data["pixels"]), data["actions"]
        ahead = rollout(predictor, z[:, :2], actions[:, :1], actions[:, 1:])
        forced = predictor(z[:, :-1], actions)
    torch.testing.assert_close(found["rollout"], (ahead - z[:, 2:]).square().mean())
    torch.testing.assert_close(found["one_step"], (forced - z[:, 1:]).square().mean())
    torch.testing.assert_close(found["loss"], 0.5 * found["one_step"] + 2.0 * found["rollout"] + 0.25 * found["slow"])
    with pytest.raises(UserError, match="clips of 3 frames; expected 4 or more, the 3 that"):
        Forecasting(encoder, predictor, rollout=Rollout(seen=3))(data)
    with pytest.raises(UserError, match="clips of 3 frames; expected 5 or more, the 2 that"):
        Forecasting(encoder, predictor, rollout=Rollout(seen=2, steps=3))(data)


@torch.no_grad()
def test_a_rollout_of_some_steps_leaves_the_rest_of_the_clip_alone(encoder: ViT) -> None:
    predictor, data = lively(), batch()
    head = HeadTerm(ValueHead(6, width=8), "value", imagined=True)
    found = Forecasting(encoder, predictor, rollout=Rollout(steps=1))(data)
    z = PooledFrames()(encoder, data["pixels"])
    ahead = rollout(predictor, z[:, :1], data["actions"][:, :0], data["actions"][:, :1])
    torch.testing.assert_close(found["rollout"], (ahead - z[:, 1:2]).square().mean())
    still = (z[:, 1] - z[:, 0]).square().mean()
    torch.testing.assert_close(found["rollout_relative"], (ahead[:, 0] - z[:, 1]).square().mean() / still)
    data["reward"] = torch.zeros(4, 2)
    Forecasting(encoder, predictor, {"value": head}, rollout=Rollout(steps=2))(data)
    with pytest.raises(UserError, match="no clip is rolled out to its end"):
        Forecasting(encoder, predictor, {"value": head}, rollout=Rollout(steps=1))(data)
    with pytest.raises(UserError, match="0 steps; expected one or more"):
        Rollout(steps=0)


@pytest.mark.parametrize("error", ["l1", "smooth_l1", "cosine"])
def test_errors_are_what_they_are_called(encoder: ViT, error: str) -> None:
    predictor, data = lively(), batch()
    found = Forecasting(encoder, predictor, error=error, rollout=Rollout(0.0))(data)["loss"]
    z = PooledFrames()(encoder, data["pixels"])
    forced, wanted = predictor(z[:, :-1], data["actions"]), z[:, 1:]
    away = (forced - wanted).abs()
    expected = {
        "l1": away,
        "smooth_l1": torch.where(away < 1, away.square() / 2, away - 0.5),
        "cosine": 1 - (forced * wanted).sum(-1) / forced.norm(dim=-1) / wanted.norm(dim=-1),
    }
    torch.testing.assert_close(found, expected[error].mean())


def test_a_cut_rollout_has_the_gradient_of_its_steps_one_by_one(encoder: ViT) -> None:
    data = batch()
    torch.manual_seed(2)
    predictor = lively()
    made = Forecasting(encoder, predictor, forced=0.0, rollout=Rollout(cut=True), freeze_encoder=True)
    made(data)["loss"].backward()
    cut = predictor.leave.weight.grad
    predictor.zero_grad()
    z = PooledFrames()(encoder, data["pixels"]).detach()
    first = predictor(z[:, :1], data["actions"][:, :1])
    with torch.no_grad():
        state = predictor.start(torch.cat([z[:, :1], first], dim=1), data["actions"][:, :1])
    second = predictor.step(state, data["actions"][:, 1]).latent
    (torch.stack([first[:, 0], second], dim=1) - z[:, 1:]).square().mean().backward()
    torch.testing.assert_close(cut, predictor.leave.weight.grad)
    predictor.zero_grad()
    Forecasting(encoder, predictor, forced=0.0, freeze_encoder=True)(data)["loss"].backward()
    assert not torch.allclose(cut, predictor.leave.weight.grad, rtol=1e-2)  # type: ignore[arg-type]


@pytest.mark.parametrize("detach", [False, True])
def test_what_is_to_be_predicted_has_gradient_unless_it_is_detached(encoder: ViT, detach: bool) -> None:
    data = batch()
    Forecasting(encoder, dynamics(), rollout=Rollout(0.0), detach=detach)(data)["loss"].backward()
    found = encoder.embed.weight.grad
    encoder.zero_grad()
    z = PooledFrames()(encoder, data["pixels"])
    (z[:, :-1] - (z[:, 1:].detach() if detach else z[:, 1:])).square().mean().backward()
    torch.testing.assert_close(found, encoder.embed.weight.grad)


def test_every_member_of_an_ensemble_has_its_own_error(encoder: ViT) -> None:
    data, members = batch(), Ensemble(lively(), 3)
    with torch.no_grad():
        for parameter in members.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        found, z = Forecasting(encoder, members)(data), PooledFrames()(encoder, data["pixels"])
        each = members.forced(z[:, :-1], data["actions"])
    torch.testing.assert_close(found["one_step"], (each - z[:, 1:]).square().mean())
    assert found["one_step"] > 1.01 * (each.mean(dim=0) - z[:, 1:]).square().mean()


def test_calibration_expects_the_error_that_the_rollouts_of_held_out_clips_have(encoder: ViT) -> None:
    members = Ensemble(lively(), 3)
    with torch.no_grad():
        for parameter in members.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    made, batches = Forecasting(encoder.eval(), members).eval(), [batch(seed) for seed in range(8)]
    learned, fresh = [batch(seed) for seed in range(8, 16)], Calibration(6)
    assert made.calibration is not None
    with pytest.raises(UserError, match="no clips of a split"):
        made.calibrate(learned, iter([]))
    assert all(value.equal(fresh.state_dict()[name]) for name, value in made.calibration.state_dict().items())
    made.calibrate(learned, iter(batches))
    errors, expected = [], []
    with torch.no_grad():
        for data in batches:
            z, actions = PooledFrames()(encoder, data["pixels"]), data["actions"]
            imagined = rollouts(members, z[:, :1], actions[:, :0], actions)
            errors.append((imagined.mean(dim=0) - z[:, 1:]).square().mean(dim=(-2, -1)))
            expected.append(made.calibration(signs_of(imagined, z[:, 0])).square())
    assert made.calibration.scale != 1 and not made.calibration.powers.equal(fresh.powers)
    torch.testing.assert_close(torch.cat(expected).mean(), torch.cat(errors).mean(), rtol=1e-4, atol=0)
    assert made.exported()["calibration"] is made.calibration
    alone = Forecasting(encoder, lively())
    alone.calibrate(iter(batches), iter(batches))
    assert alone.calibration is None and "calibration" not in alone.exported()


@torch.no_grad()
def test_calibration_is_by_hand_one_of_learned_clips_sized_on_others_from_the_last_frame_seen(encoder: ViT) -> None:
    """Two frames are seen, with the state beside the pixels."""
    frames = StateFrames(PooledFrames(), 2, width=3)
    members = Ensemble(TransformerDynamics(9, (1, 1), 2, 3, trunk=Trunk(12, 1, 2)), 3)
    for parameter in members.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    made = Forecasting(encoder, members, frames=frames, rollout=Rollout(seen=2)).eval()
    splits = [[batch(seed) | {"state": torch.randn(4, 3, 2)} for seed in range(at, at + 8)] for at in (0, 8)]
    made.calibrate(*splits)
    told = []
    for split in splits:
        z = torch.cat([frames(encoder, data["pixels"], data["state"]) for data in split])
        actions = torch.cat([data["actions"] for data in split])
        imagined = rollouts(members, z[:, :2], actions[:, :1], actions[:, 1:])
        errors = (imagined.mean(dim=0) - z[:, 2:]).square().mean(dim=(-2, -1)).sqrt()
        told.append((signs_of(imagined, z[:, 1]), errors))
    expected = Calibration(9)
    expected.fit(*told[0])
    expected.rescale(*told[1])
    assert made.calibration is not None
    torch.testing.assert_close(made.calibration.state_dict(), expected.state_dict(), rtol=1e-3, atol=1e-4)


def test_heads_follow_the_steps_and_are_saved_by_their_names(encoder: ViT) -> None:
    head = ValueHead(6, decay=0.0)
    made = Forecasting(encoder, dynamics(), {"value": HeadTerm(head, "value")})
    with torch.no_grad():
        head.read[1].weight.add_(1.0)
    made.after_step(0.5)
    torch.testing.assert_close(head.average[1].weight, head.read[1].weight)
    assert made.exported()["value"] is head and {"encoder", "frames", "dynamics", "bounds"} < made.exported().keys()
    with pytest.raises(UserError, match="HeadTerm: got a head named 'dynamics'"):
        HeadTerm(head, "dynamics")
    with pytest.raises(UserError, match=r"several that are saved as \['value'\]"):
        Forecasting(encoder, dynamics(), {"one": HeadTerm(head, "value"), "two": HeadTerm(ValueHead(6), "value")})
    with pytest.raises(UserError, match=r"latents of 1 tokens of width 6; ValueHead expected 1 of 7"):
        HeadTerm(ValueHead(7), "value")(torch.zeros(2, 3, 1, 6), None, {})


def test_the_dynamics_learn_the_spread_of_the_actions(encoder: ViT) -> None:
    predictor = dynamics()
    Forecasting(encoder, predictor).prepare({"action_mean": [1.0, 2.0], "action_std": [3.0, 4.0]})
    assert predictor.actions.standard.mean.tolist() == [1.0, 2.0]
    assert predictor.actions.standard.std.tolist() == [3.0, 4.0]


def test_parts_that_do_not_fit_are_refused_with_both_sides(encoder: ViT) -> None:
    with pytest.raises(UserError, match="latents are 6 wide, the dynamics' latent_dim is 5"):
        Forecasting(encoder, TransformerDynamics(5))
    with pytest.raises(UserError, match="blocks are 6 wide; expected 10"):
        Forecasting(encoder, TransformerDynamics(6, frame_skip=5, trunk=Trunk(12, 1, 2)))(batch())


def test_clips_in_which_nothing_moves_give_numbers(encoder: ViT) -> None:
    """What is compared with no motion must be finite: a term that is none ends a run."""
    still = batch() | {"pixels": batch()["pixels"][:, :1].expand(-1, 3, -1, -1, -1)}
    assert Forecasting(encoder, dynamics())(still)["rollout_relative"] == 0
    moving = dynamics()
    torch.nn.init.ones_(moving.leave.bias)
    terms = Forecasting(encoder, moving)(still)
    assert terms["rollout_relative"].isfinite() and terms["rollout_relative"] > 1e6


@pytest.mark.parametrize("name", ["loss", "one_step", "rollout", "rollout_relative"])
def test_terms_are_not_called_what_the_objective_says_itself(encoder: ViT, name: str) -> None:
    with pytest.raises(UserError, match=rf"terms: got the names \['{name}'\]; expected others"):
        Forecasting(encoder, dynamics(), {name: TimeSimilarity()})


@pytest.mark.parametrize("name", ["values", "keys", "train", "training", "exported", "a.b", ""])
def test_terms_have_names_that_can_be_kept(encoder: ViT, name: str) -> None:
    with pytest.raises(UserError, match=rf"terms: got the names \['{name}'\]; expected words of letters"):
        Forecasting(encoder, dynamics(), {name: TimeSimilarity()})


@pytest.mark.parametrize(("mean", "spread"), [(None, None), ([0.1], [0.2]), ([0.0] * 3, [1.0] * 3), ([0.0] * 2, [1.0])])
def test_statistics_of_other_actions_are_refused(
    encoder: ViT, mean: list[float] | None, spread: list[float] | None
) -> None:
    found = {} if mean is None else {"action_mean": mean, "action_std": spread}
    discrete = TransformerDynamics(6, (1, 1), 2, 3, trunk=Trunk(12, 1, 2), discrete=True)
    with pytest.raises(UserError, match="action_dim is 2"):
        Forecasting(encoder, discrete).prepare(found)


def test_an_objective_that_asks_nothing_is_refused(encoder: ViT) -> None:
    with pytest.raises(UserError, match="expected one to learn by"):
        Forecasting(encoder, dynamics(), forced=0.0, rollout=Rollout(0.0))
    Forecasting(encoder, dynamics(), {"slow": TimeSimilarity()}, forced=0.0, rollout=Rollout(0.0))
