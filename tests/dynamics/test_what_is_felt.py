"""Proprioception among the latents: the ways in which it enters, and that it is imagined as it is seen."""

import pytest
import torch
from torch import Tensor

from jepa_wm.checkpoint import MODELS, build, spec
from jepa_wm.dynamics import Ensemble, Felt, PrefixDynamics, TransformerDynamics, Trunk, rollout
from jepa_wm.dynamics.conditioning import KINDS, Entrance, Kind
from jepa_wm.encoders.frames import PooledFrames, StateFrames
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import Forecasting

FELT, FRAMES = 3, 7


def lively(kind: Kind, way: Kind, window: int = 3, tokens: int = 2) -> TransformerDynamics:
    """A small one away from its initialisation, where nothing would move."""
    torch.manual_seed(0)
    model = TransformerDynamics(
        8, (1, tokens), 2, 3, Trunk(16, 2, 2), window, kind, residual=False, felt=Felt(FELT, way)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def latents_of(batch: int, frames: int, tokens: int = 2) -> Tensor:
    """Latents as `StateFrames` makes them: what is felt is in all tokens of a frame."""
    latents = torch.randn(batch, frames, tokens, 8)
    latents[..., -FELT:] = latents[:, :, :1, -FELT:]
    return latents


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", KINDS)
@torch.no_grad()
def test_a_cached_rollout_equals_feeding_back_the_parallel_forward(kind: Kind, way: Kind) -> None:
    model = lively(kind, way)
    seen, actions = latents_of(2, 2), torch.randn(2, FRAMES, 6)
    latents = seen
    for stop in range(2, FRAMES + 1):
        latents = torch.cat([latents, model(latents, actions[:, :stop])[:, -1:]], dim=1)
    found = rollout(model, seen, actions[:, :1], actions[:, 1:])
    torch.testing.assert_close(found, latents[:, 2:], rtol=0.0, atol=1e-5 * latents.abs().max().item())
    together = rollout(model, seen, actions[:, :1], actions[:, 1:].repeat_interleave(3, dim=0))
    torch.testing.assert_close(together[1::3], found, rtol=0.0, atol=1e-5 * latents.abs().max().item())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", KINDS)
@torch.no_grad()
def test_what_is_felt_tells_the_rest_and_the_other_way_round(kind: Kind, way: Kind) -> None:
    model, latents, actions = lively(kind, way), latents_of(1, 3), torch.randn(1, 3, 6)
    before = model(latents, actions)
    for part in (slice(-FELT, None), slice(0, -FELT)):
        other = latents.clone()
        other[:, 1, :, part] += 1.0
        moved = (model(other, actions) - before).abs()
        assert moved[:, 0].max() < 1e-6  # nor does it reach the past
        assert min(moved[:, 1:, :, half].max() for half in (slice(-FELT, None), slice(0, -FELT))) > 1e-2


@torch.no_grad()
def test_each_way_is_what_it_says() -> None:
    torch.manual_seed(0)
    latents, actions = torch.randn(2, 4, 3, 8), torch.randn(2, 4, 16)
    seen, felt = latents[..., :-FELT], latents[..., -FELT:].mean(dim=2)
    for kind in KINDS:
        plain, alike = (Entrance(8, 16, kind, way) for way in (None, Felt(FELT, "features")))
        alike.load_state_dict(plain.state_dict())
        for one, other in zip(plain(latents, actions), alike(latents, actions), strict=True):
            torch.testing.assert_close(one, other)
        for way in ("token", "adaln"):
            enter = Entrance(8, 16, kind, Felt(FELT, way))
            tokens, condition = enter(latents, actions)
            assert enter.feel is not None
            entering = felt @ enter.feel.weight.T + enter.feel.bias
            reference = Entrance(8 - FELT, 16, kind)
            reference.load_state_dict({name: x for name, x in enter.state_dict().items() if "feel" not in name})
            without, told = reference(seen, actions)
            assert enter.extra == reference.extra + (way == "token") == tokens.shape[2] - 3
            torch.testing.assert_close(tokens[:, :, : without.shape[2]], without)
            if way == "token":
                torch.testing.assert_close(tokens[:, :, -1], entering)
                torch.testing.assert_close(condition, told)
            else:
                torch.testing.assert_close(condition, entering + told if kind == "adaln" else entering)


@pytest.mark.parametrize("way", KINDS)
def test_it_is_learned_from_states_that_no_picture_tells(way: Kind) -> None:
    """Frames are all alike; the state is moved by the actions."""
    torch.manual_seed(0)
    frames = StateFrames(PooledFrames(), 2, width=2)
    frames.embed.weight.data, frames.embed.bias.data = torch.eye(2), torch.zeros(2)
    frames.embed.requires_grad_(False)
    dynamics = TransformerDynamics(10, (1, 1), 2, 1, Trunk(16, 1, 2), conditioning="adaln", felt=Felt(2, way))
    made = Forecasting(ViT(patch=8, dim=8, depth=1, heads=2), dynamics, frames=frames, freeze_encoder=True)
    optimizer = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], 3e-2)
    pixels = torch.zeros(16, 3, 3, 8, 8, dtype=torch.uint8)
    for _ in range(60):
        actions = torch.randn(16, 2, 2)
        state = torch.cat([torch.randn(16, 1, 2), torch.zeros(16, 2, 2)], dim=1)
        for time in range(2):
            state[:, time + 1] = 0.5 * state[:, time].flip(-1) + actions[:, time]
        found = made({"pixels": pixels, "actions": actions, "state": state})
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
    assert found["rollout_relative"] < 0.15


@torch.no_grad()
def test_it_enters_ensembles_and_prefixes_and_is_saved() -> None:
    latents, actions = latents_of(2, 1), torch.randn(2, 2, 6)
    for way in KINDS:
        one = lively("adaln", way)
        members = Ensemble(one, 2).eval()
        found = members.futures(members.start(latents, actions[:, :0]), actions)
        assert found.shape == (2, 2, 2, 2, 8)
        again = build(spec(one), within=MODELS)
        assert spec(again) == spec(one)
        again.load_state_dict(one.state_dict())
        at_once = rollout(PrefixDynamics(one).eval(), latents, actions[:, :0], actions)
        torch.testing.assert_close(at_once[:, 0], rollout(one, latents, actions[:, :0], actions)[:, 0])


def test_what_cannot_be_felt_is_refused() -> None:
    with pytest.raises(UserError, match=r"Felt\.width: got 0; expected a channel or more"):
        Felt(0)
    with pytest.raises(UserError, match=r"Felt\.conditioning 'film'; expected one of adaln, features, token"):
        Felt(3, "film")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"Felt\.width: got 8; expected fewer than the latents' 8 channels"):
        TransformerDynamics(8, felt=Felt(8))
