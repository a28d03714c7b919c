"""A world model of which parts compute in half precision answers in float32."""

import numpy as np
import pytest
import torch
from torch import Tensor

from jepa_wm.contracts import Encoder, Planner
from jepa_wm.control.controller import Controller
from jepa_wm.control.expected import Expected
from jepa_wm.dynamics import TransformerDynamics, Trunk, rollout
from jepa_wm.dynamics.heads import PixelHead, StateHead
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders import GridPool, PooledFrames, ViT
from jepa_wm.encoders.frames import Frames
from jepa_wm.goals import Image, Latents
from jepa_wm.observations import Observation
from jepa_wm.planning import CEM, Amortised
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel


class AsItIs(PooledFrames):
    """The pooled latent of a frame, in whatever precision the encoder gives it."""

    def forward(self, encoder: Encoder, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        return encoder.pooled(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])[:, :, None]


def made(frames: Frames) -> WorldModel:
    """A predictor of the next latents themselves, which adds nothing to the last ones, and a head that reads them."""
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    dynamics = TransformerDynamics(6, trunk=Trunk(12, 1, 2), residual=False)
    return WorldModel(encoder, dynamics, frames=frames, heads={"where": StateHead(6, width=8)}).eval()


def given() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    seen = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return seen, torch.rand(2, 3, 10, generator=generator)


@torch.no_grad()
def test_under_autocast_latents_are_imagined_in_half_precision_and_told_and_read_in_float32() -> None:
    model, (seen, actions) = made(PooledFrames()), given()
    with torch.autocast("cpu", torch.bfloat16):
        found = model.imagine(seen, actions)
        half = rollout(model.dynamics, model.encode(seen[:, None]), actions[:, :0], actions)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(found.latents, half.float())
    assert found.readouts["where"].dtype == torch.float32


@pytest.mark.parametrize("frames", [PooledFrames(), AsItIs()], ids=["pooled", "as it is"])
def test_an_encoder_in_half_precision_gives_latents_in_float32(frames: Frames) -> None:
    model, (seen, actions) = made(frames), given()
    whole = model.imagine(seen, actions)
    model.encoder.bfloat16()
    assert model.encoder.pooled(seen).dtype == torch.bfloat16
    assert model.encode(seen[:, None]).dtype == torch.float32
    found = model.imagine(seen, actions)
    torch.testing.assert_close(found.latents, whole.latents, rtol=0.1, atol=0.1)
    assert found.latents.dtype == torch.float32 and not torch.equal(found.latents, whole.latents)


@torch.no_grad()
def test_where_a_goal_is_a_model_in_half_precision_reads_in_float32() -> None:
    model, (seen, _) = made(PooledFrames()), given()
    torch.nn.init.normal_(model.heads["where"].read[-1].weight)
    goals = (Image(Observation(seen)), Latents(model.encode(seen[:, None])[:, 0]))
    whole = model.heads["where"](goals[1].latents)
    model.bfloat16()
    for goal in goals:
        found = goal.where(model, "where")
        torch.testing.assert_close(found, whole, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("hardware", [True, False], ids=["with bfloat16", "without"])
@pytest.mark.parametrize("planner", [CEM(8, 2, 2), Amortised()], ids=["searched", "proposed"])
def test_a_model_in_half_precision_is_planned_with_and_controlled_in_float32(
    planner: Planner, hardware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: hardware)
    model, (seen, _) = made(PooledFrames()), given()
    model.proposal = Proposal(6, width=8)
    model.bfloat16()
    plan = model.plan(seen, seen[0], Search(planner, horizon=3))
    assert plan.actions.dtype == plan.cost.dtype == torch.float32
    controller = Controller(model, seen[0], Search(planner, horizon=3))
    np.testing.assert_array_equal(controller.act(seen.numpy()), plan.actions[:, 0].numpy())


@pytest.mark.parametrize("half", [True, False], ids=["bfloat16", "float32"])
def test_what_a_model_imagined_is_drawn_in_either_precision(half: bool) -> None:
    model, (seen, _) = made(PooledFrames()), given()
    model.heads["drawn"] = head = PixelHead(6, size=16, width=8)
    torch.nn.init.constant_(list(head.parameters())[-1], -20.0)  # it draws black, whatever it is shown
    expected = Expected(Controller(model.bfloat16() if half else model, seen[0], Search(CEM(8, 2, 2), horizon=3)))
    expected.act(seen.numpy(), np.ones(2, dtype=bool), np.zeros((2, 2), dtype=np.float32))
    film = seen.numpy()[:, None].repeat(2, axis=1)
    np.testing.assert_array_equal(expected.pictures(film, np.zeros((2, 2, 2), dtype=np.float32)), 0 * film)
