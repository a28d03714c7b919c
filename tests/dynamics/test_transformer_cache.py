"""The cached, step-by-step form of the dynamics against the parallel one."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jepa_wm.dynamics import TimeRope, TransformerDynamics, Trunk, attention, rollout
from jepa_wm.dynamics.attention import FEW, attend, band, behind
from jepa_wm.dynamics.cache import Cache, Pair
from jepa_wm.dynamics.conditioning import KINDS, Kind
from jepa_wm.dynamics.positions import FrameTable, rotation_of
from jepa_wm.encoders.positions import CentredRope, Learned, Positions, Rope, SinCos
from jepa_wm.errors import UserError

WINDOWS, FRAMES = (1, 2, 3, 5, 8), 12
"""Windows, and frames that go on past the end of each."""


def assert_alike(found: Tensor, expected: Tensor) -> None:
    """The same to 1e-5 of how large the values are."""
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-5 * expected.abs().max().item())


def lively(
    window: int, tokens: int, kind: Kind = "adaln", positions: Positions | None = None, depth: int = 2
) -> TransformerDynamics:
    """A small dynamics away from its initialisation, where nothing would move."""
    torch.manual_seed(0)
    model = TransformerDynamics(
        *(8, (1, tokens), 2, 3), trunk=Trunk(16, depth, 2), window=window, conditioning=kind, positions=positions
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


POSITIONS = {"time": TimeRope(), "space-time": Rope(), "sincos": SinCos(), "learned": Learned((FRAMES, 1, 4))}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positions", POSITIONS.values(), ids=list(POSITIONS))
@torch.no_grad()
def test_stepping_with_the_cache_equals_the_parallel_forward_past_the_window(
    window: int, tokens: int, kind: Kind, positions: Positions
) -> None:
    model = lively(window, tokens, kind, positions)
    latents, actions = torch.randn(2, FRAMES, tokens, 8), torch.randn(2, FRAMES, 6)
    parallel = model(latents, actions)
    for time in {0, window - 1, window, FRAMES - 1}:
        state = model.start(latents[:, : time + 1], actions[:, :time])
        stepped = model.latent(model.step(state, actions[:, time]))
        assert_alike(stepped, parallel[:, time])


@pytest.mark.parametrize("window", WINDOWS)
@torch.no_grad()
def test_a_long_rollout_equals_feeding_back_the_parallel_forward(window: int) -> None:
    model = lively(window, 2)
    seen, actions = torch.randn(3, 2, 2, 8), torch.randn(3, FRAMES, 6)
    context, ahead = actions[:, :1], actions[:, 1:]
    latents = seen
    for stop in range(2, FRAMES + 1):
        latents = torch.cat([latents, model(latents, actions[:, :stop])[:, -1:]], dim=1)
    assert_alike(rollout(model, seen, context, ahead), latents[:, 2:])


@torch.no_grad()
def test_the_future_does_not_reach_the_past_and_the_window_ends() -> None:
    model = lively(2, 1)
    latents, actions = torch.randn(1, 6, 1, 8), torch.randn(1, 6, 6)
    before = model(latents, actions)
    later = latents.clone()
    later[:, 4] += 1.0
    changed = (model(later, actions) - before).abs().amax(dim=(0, 2, 3)) > 1e-6
    # Two blocks, each of which looks one frame back: frame 4 reaches frames 4, 5 and (not here) 6.
    assert changed.tolist() == [False, False, False, False, True, True]
    earlier = latents.clone()
    earlier[:, 0] += 1.0
    changed = (model(earlier, actions) - before).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert changed.tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_candidates_of_a_state_are_as_if_each_were_alone(kind: Kind) -> None:
    model = lively(3, 2, kind)
    latents, context, actions = torch.randn(2, 3, 2, 8), torch.randn(2, 2, 6), torch.randn(2, 5, 4, 6)
    together = rollout(model, latents, context, actions.flatten(0, 1)).unflatten(0, (2, 5))
    for i in range(2):
        for j in range(5):
            alone = rollout(model, latents[i : i + 1], context[i : i + 1], actions[i, j : j + 1])
            assert_alike(together[i, j], alone[0])


@pytest.mark.parametrize("steps", [1, 2, 3])
@torch.no_grad()
def test_candidates_of_a_state_that_has_imagined_are_adjacent_too(steps: int) -> None:
    model = lively(3, 2)
    latents, context, ahead = torch.randn(2, 2, 2, 8), torch.randn(2, 1, 6), torch.randn(2, 3, steps + 2, 6)
    ahead[:, :, :steps] = ahead[:, :1, :steps]
    state = model.start(latents, context)
    for action in ahead[:, 0, :steps].unbind(1):
        state = model.step(state, action)
    state = model.expand(state, 3)
    for action in ahead[:, :, steps:].flatten(0, 1).unbind(1):
        state = model.step(state, action)
    together = model.latent(state).unflatten(0, (2, 3))
    for i in range(2):
        for j in range(3):
            alone = rollout(model, latents[i : i + 1], context[i : i + 1], ahead[i, j : j + 1])[0, -1]
            assert_alike(together[i, j], alone)


@torch.no_grad()
def test_a_new_model_predicts_that_nothing_changes() -> None:
    model = TransformerDynamics(8, (1, 1), 2, 3, trunk=Trunk(16, 2, 2))
    latents = torch.randn(2, 3, 1, 8)
    torch.testing.assert_close(model(latents, torch.randn(2, 3, 6)), latents)


@torch.no_grad()
def test_actions_are_normalised_by_the_statistics() -> None:
    model = lively(1, 1)
    latents, actions = torch.randn(2, 3, 1, 8), torch.randn(2, 3, 6)
    before = model(latents, actions)
    model.prepare({"action_mean": [1.0, -2.0], "action_std": [2.0, 0.5]})
    scaled = actions.unflatten(-1, (3, 2)) * torch.tensor([2.0, 0.5]) + torch.tensor([1.0, -2.0])
    torch.testing.assert_close(model(latents, scaled.flatten(-2)), before, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(model(latents, actions), before)


@torch.no_grad()
def test_what_was_seen_is_kept_once_and_forgotten_when_the_window_has_passed() -> None:
    model = lively(4, 2)
    state = model.start(torch.randn(2, 6, 2, 8), torch.randn(2, 5, 6))
    for cache in state.caches:
        assert cache is not None
        # Five frames were read: keys and values of ten tokens for two states, and nothing else, are in memory.
        assert {part.untyped_storage().nbytes() for part in cache.shared} == {4 * 2 * 10 * 16}
    seen = [part.untyped_storage().data_ptr() for cache in state.caches if cache for part in cache.shared]
    state = model.expand(state, 50)
    sizes = []
    for _ in range(5):
        first = state.caches[0]
        assert first is not None
        own = [part.keys.shape[:3:2] for part in first.own]
        held = {each.untyped_storage().nbytes() for part in first.own for each in part}
        assert held <= {4 * 100 * 2 * 16}
        sizes.append((first.shared.keys.shape[:3:2], *own))
        assert seen == [part.untyped_storage().data_ptr() for cache in state.caches if cache for part in cache.shared]
        state = model.step(state, torch.randn(100, 6))
    # Two tokens a frame; three frames are kept: those that were seen for two states, imagined ones for a hundred.
    new = (100, 2)
    assert sizes == [((2, 6),), ((2, 4), new), ((2, 2), new, new), *2 * [((2, 0), new, new, new)]]


@pytest.mark.parametrize(
    ("past", "time", "window"), [(0, 3, 2), (3, 1, 4), (3, 1, 3), (5, 2, 3), (2, 4, 9), (7, 1, 8), (0, 1, 1)]
)
def test_attention_to_a_shared_cache_is_attention_to_copies_of_it(past: int, time: int, window: int) -> None:
    torch.manual_seed(0)
    seen, own, q = torch.randn(2, 2, 3, past, 5), torch.randn(2, 8, 3, time, 5), torch.randn(8, 3, time, 5)
    visible = band(past, time, 1, window, q.device)
    copied = torch.cat([seen.repeat_interleave(4, dim=1), own], dim=3)
    ages = torch.arange(past, past + time)[:, None] - torch.arange(past + time)
    brute = F.scaled_dot_product_attention(q, copied[0], copied[1], attn_mask=(ages >= 0) & (ages < window))
    torch.testing.assert_close(attend(q, Cache(Pair(*seen), (Pair(*own),)), visible), brute)
    # Some of what each candidate has of its own may be there already, in pieces.
    for first in range(1, past + 1):
        shared = Pair(*(x[:, :, : past - first] for x in seen))
        steps = torch.cat([seen.repeat_interleave(4, dim=1)[:, :, :, past - first :], own], dim=3).split(2, dim=3)
        torch.testing.assert_close(attend(q, Cache(shared, tuple(Pair(*step) for step in steps)), visible), brute)


@pytest.mark.parametrize("tokens", [2, FEW, FEW + 1])
@pytest.mark.parametrize("new", [1, 2])
def test_pairs_one_by_one_are_attention_to_what_came_before(tokens: int, new: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 5, 2, tokens, 4)
    brute = F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :, -new:]
    torch.testing.assert_close(behind(q[:, :, -new:], k, v), brute)


@torch.no_grad()
def test_space_time_rotations_know_where_a_token_is() -> None:
    """With space among the positions, exchanging two tokens of a frame is more than an exchange of the answer."""
    for positions, same in ((TimeRope(), True), (Rope(), False)):
        model = TransformerDynamics(8, (2, 2), 2, 3, trunk=Trunk(24, 2, 2), positions=positions)
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.place.zero_()
        latents, actions, order = torch.randn(1, 3, 4, 8), torch.randn(1, 3, 6), [1, 0, 2, 3]
        exchanged = model(latents[:, :, order], actions)[:, :, order]
        assert torch.allclose(exchanged, model(latents, actions), atol=1e-4) == same


def test_an_action_token_stands_where_the_first_token_of_its_frame_does() -> None:
    turns = rotation_of(Rope(), (2, 2), range(3, 5), 1, 12, torch.device("cpu"))
    assert turns is not None
    cos, sin = (table.unflatten(0, (2, 5)) for table in (turns.cos, turns.sin))
    torch.testing.assert_close(cos[:, 4], cos[:, 0])
    torch.testing.assert_close(sin[:, 4], sin[:, 0])
    torch.testing.assert_close(cos[:, 3], Rope().rotary((5, 2, 2), 12).cos.unflatten(0, (5, 4))[3:, 3])
    assert not torch.allclose(sin[0], sin[1])


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=list(POSITIONS))
@torch.no_grad()
def test_the_order_of_frames_that_were_seen_is_known(positions: Positions) -> None:
    # More than one block might tell the order by what each frame saw itself.
    model = lively(3, 2, positions=positions, depth=1)
    latents, actions = torch.randn(1, 3, 2, 8), torch.zeros(1, 3, 6)
    exchanged = model(latents[:, [1, 0, 2]], actions)[:, 2]
    assert (exchanged - model(latents, actions)[:, 2]).abs().max() > 0.01


@pytest.mark.parametrize("positions", [CentredRope(), SinCos(2), Learned((1, 1, 2)), Positions()])
def test_positions_that_are_the_same_in_all_frames_are_refused(positions: Positions) -> None:
    with pytest.raises(UserError, match=rf"TransformerDynamics\.positions: {type(positions).__name__} is the same in"):
        lively(3, 2, positions=positions)


@pytest.mark.parametrize(
    ("positions", "extra"), [(SinCos(), 0), (SinCos(), 1), (Learned((66, 2, 2)), 0)], ids=["fixed", "token", "learned"]
)
def test_what_is_added_to_a_token_is_the_table_of_its_frame_and_place(positions: Positions, extra: int) -> None:
    table = FrameTable(positions, (2, 2), extra, 12)
    whole = positions.additive((66, 2, 2), 12) if table.position_table is None else table.position_table
    assert whole is not None
    for first in (0, 3, 63):
        found = table(torch.zeros(2, 3, 4 + extra, 12), range(first, first + 3))
        expected = whole.unflatten(0, (66, 4))[first : first + 3]
        torch.testing.assert_close(found[1, :, :4], expected)
        torch.testing.assert_close(found[1, :, 4:], expected[:, :extra])


@torch.no_grad()
def test_a_learned_table_says_where_it_ends() -> None:
    model = lively(2, 2, positions=Learned((4, 1, 2)))
    seen, context, actions = torch.randn(1, 2, 2, 8), torch.randn(1, 1, 6), torch.randn(1, 4, 6)
    assert rollout(model, seen, context, actions[:, :3]).shape == (1, 3, 2, 8)
    with pytest.raises(UserError, match=r"Learned positions of 4 frames: got 5, seen and imagined.*expected 4 at most"):
        rollout(model, seen, context, actions)


@pytest.mark.parametrize("states", [1, 2])
@pytest.mark.parametrize(("past", "time", "window"), [(3, 2, 5), (5, 2, 3), (7, 1, 8)])
def test_candidates_by_turns_are_all_of_them_at_once(
    monkeypatch: pytest.MonkeyPatch, states: int, past: int, time: int, window: int
) -> None:
    torch.manual_seed(0)
    candidates, visible = 7, band(past, time, 1, window, torch.device("cpu"))
    shared, own = torch.randn(2, states, 3, past - 1, 5), torch.randn(2, 2, states * candidates, 3, time, 5)
    own[0], q = own[0], torch.randn(states * candidates, 3, time, 5, requires_grad=True)
    cache = Cache(Pair(*shared), (Pair(*own[0, :, :, :, :1]), Pair(*own[1])))
    whole = attend(q, cache, visible)
    (slope,) = torch.autograd.grad(whole.square().sum(), q)
    for held in (1, 2, 3, candidates):
        monkeypatch.setattr(attention, "BLOCK", states * held * 3 * time * cache.tokens)
        found = attend(q, cache, visible)
        torch.testing.assert_close(found, whole)
        torch.testing.assert_close(torch.autograd.grad(found.square().sum(), q)[0], slope)


class Softmaxes(TorchDispatchMode):
    """Counts them: each turn of attention has one."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "softmax" in str(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("device", "turns"), [("cpu", 4), ("meta", 1)])
def test_turns_are_as_long_as_the_device_has_memory_for(device: str, turns: int) -> None:
    """The window of a JEPA-WM's patches, of four candidates: with turns as on a CPU, a GPU would but launch kernels."""
    shared, own = (
        Pair(*torch.zeros(2, count, 16, 1, 1, device=device).expand(-1, -1, -1, 256, -1)) for count in (1, 4)
    )
    q = torch.zeros(4, 16, 256, 1, device=device)
    with Softmaxes() as found:
        attend(q, Cache(shared, (own,)), None)
    assert found.count == turns
