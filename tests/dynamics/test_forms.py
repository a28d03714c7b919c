"""The forms of dynamics beside the cached transformer: what each computes, by brute force."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics import (
    DinoWMDynamics,
    Ensemble,
    JepaWMDynamics,
    LeWMDynamics,
    MLPDynamics,
    PrefixDynamics,
    RecurrentDynamics,
    TransformerDynamics,
    Trunk,
    VJepa2ACDynamics,
    rollout,
)
from jepa_wm.dynamics.poses import moved
from jepa_wm.errors import UserError


def lively(model: Dynamics) -> Dynamics:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@torch.no_grad()
def test_all_prefixes_at_once_are_the_prefixes_one_by_one() -> None:
    torch.manual_seed(0)
    model = lively(PrefixDynamics(TransformerDynamics(8, (1, 2), 2, 3, trunk=Trunk(16, 2, 2), window=7)))
    seen, context, actions = torch.randn(2, 3, 2, 8), torch.randn(2, 2, 6), torch.randn(6, 5, 6)
    at_once = rollout(model, seen, context, actions)
    state = model.expand(model.start(seen, context), 3)
    for time in range(5):
        state = model.step(state, actions[:, time])
        torch.testing.assert_close(model.latent(state), at_once[:, time], rtol=1e-4, atol=1e-4)
    # No prediction is looked at: the third latent is the same whatever the second was, and knows the actions before.
    other = actions.clone()
    other[:, 3:] += 1.0
    torch.testing.assert_close(rollout(model, seen, context, other)[:, :3], at_once[:, :3])
    other[:, 0] += 1.0
    assert (rollout(model, seen, context, other)[:, 1:3] - at_once[:, 1:3]).abs().min(dim=-1).values.max() > 1e-4


@torch.no_grad()
def test_prefixes_that_the_window_does_not_hold_are_refused() -> None:
    torch.manual_seed(0)
    model = lively(PrefixDynamics(TransformerDynamics(8, (1, 2), 2, 3, trunk=Trunk(16, 1, 2), window=6)))
    seen, context, actions = torch.randn(1, 3, 2, 8), torch.randn(1, 2, 6), torch.randn(1, 5, 6)
    other = actions.clone()
    other[:, 0] += 1.0
    last = [rollout(model, seen, context, each[:, :4])[:, -1] for each in (actions, other)]
    assert (last[1] - last[0]).abs().max() > 1e-3  # the last knows of the first action
    with pytest.raises(UserError, match="got 3 frames of context and 5 to come; expected 7 at most"):
        rollout(model, seen, context, actions)
    state = model.start(seen, context)
    for action in actions[:, :4].unbind(1):
        state = model.step(state, action)
    with pytest.raises(UserError, match="got 3 frames of context and 5 to come; expected 7 at most"):
        model.step(state, actions[:, 4])


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_a_rollout_is_what_reading_the_window_anew_at_every_step_gives(frames: int) -> None:
    torch.manual_seed(0)
    model = lively(LeWMDynamics(8, 2, 3, depth=2, heads=2, head_dim=4, hidden=16, window=3))
    seen, context = torch.randn(2, frames, 1, 8), torch.randn(2, frames - 1, 6)
    ahead = torch.randn(2, 5, 6, requires_grad=True)
    latents, actions = seen, torch.cat([context, ahead], dim=1)
    for stop in range(frames, frames + 5):
        low = max(stop - 3, 0)
        latents = torch.cat([latents, model.read(latents[:, low:], actions[:, low:stop])[:, -1:]], dim=1)
    found = rollout(model, seen, context, ahead)
    torch.testing.assert_close(found, latents[:, frames:])
    slopes = (torch.autograd.grad(imagined.sum(), ahead, retain_graph=True) for imagined in (found, latents))
    torch.testing.assert_close(*(slope for (slope,) in slopes))
    forced = model(latents, torch.cat([actions, ahead[:, :1]], dim=1))
    torch.testing.assert_close(forced[:, frames - 1 : frames + 4], latents[:, frames:])


@torch.no_grad()
def test_a_rollout_in_training_is_what_single_steps_are() -> None:
    torch.manual_seed(0)
    model = lively(LeWMDynamics(8, 2, 3, depth=2, heads=2, head_dim=4, hidden=16, window=3, dropout=0.3)).train()
    seen, context, actions = torch.randn(4, 2, 1, 8), torch.randn(4, 1, 6), torch.randn(4, 5, 6)
    twin = deepcopy(model)
    torch.manual_seed(1)
    found = rollout(model, seen, context, actions)
    torch.manual_seed(1)
    state = twin.start(seen, context)
    for time, action in enumerate(actions.unbind(dim=1)):
        state = twin.step(state, action)
        torch.testing.assert_close(found[:, time], twin.latent(state))
    for one, other in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("form", [RecurrentDynamics, MLPDynamics])
@torch.no_grad()
def test_cheap_predictors_begin_by_standing_still(form: type) -> None:
    latents = torch.randn(2, 4, 3, 8)
    torch.testing.assert_close(form(8, 3, 2, 5)(latents, torch.randn(2, 4, 10)), latents)


@pytest.mark.parametrize(("form", "remembers"), [(RecurrentDynamics, True), (MLPDynamics, False)])
@torch.no_grad()
def test_the_recurrent_one_remembers_and_the_other_does_not(form: type, remembers: bool) -> None:
    torch.manual_seed(0)
    model = lively(form(8, 1, 2, 3))
    latents, actions = torch.randn(1, 4, 1, 8), torch.randn(1, 4, 6)
    earlier = latents.clone()
    earlier[:, 0] += 1.0
    moved = (model(earlier, actions) - model(latents, actions)).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert moved.tolist() == [True, *[remembers] * 3]


@torch.no_grad()
def test_the_recurrent_one_is_a_gru() -> None:
    torch.manual_seed(0)
    model = lively(RecurrentDynamics(8, 1, 2, 3, width=16))
    reference = torch.nn.GRU(8 + 16, 16, batch_first=True)
    state = {"weight_ih_l0": model.hear.weight, "bias_ih_l0": model.hear.bias}
    reference.load_state_dict(state | {"weight_hh_l0": model.recall.weight, "bias_hh_l0": model.recall.bias})
    latents, actions = torch.randn(2, 4, 1, 8), torch.randn(2, 4, 6)
    read, _ = reference(torch.cat([latents[:, :, 0], model.actions(actions)], dim=-1))
    torch.testing.assert_close(model(latents, actions), latents + model.leave(read)[:, :, None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("members", [1, 2])
def test_gradient_stops_at_a_step_where_it_is_cut(members: int) -> None:
    torch.manual_seed(0)
    one = TransformerDynamics(4, (1, 1), 1, 1, trunk=Trunk(8, 1, 1))
    model = lively(one if members == 1 else Ensemble(one, members))
    actions = torch.randn(1, 3, 1, requires_grad=True)
    for cut in (False, True):
        state = model.start(torch.randn(1, 1, 1, 4), actions[:, :0])
        each = model.futures(state, actions, cut)
        assert len(each) == members
        for imagined in (*each, model.future(state, actions, cut)):
            (reached,) = torch.autograd.grad(imagined[:, -1].sum(), actions, retain_graph=True)
            assert (reached[0, :, 0] != 0).tolist() == [not cut, not cut, True]


DISCRETE = {
    TransformerDynamics: lambda told: TransformerDynamics(4, (1, 1), 3, 2, Trunk(8, 1, 1), discrete=told),
    RecurrentDynamics: lambda told: RecurrentDynamics(4, 1, 3, 2, discrete=told),
    MLPDynamics: lambda told: MLPDynamics(4, 1, 3, 2, discrete=told),
    LeWMDynamics: lambda told: LeWMDynamics(4, 3, 2, 1, 2, 4, 16, discrete=told),
    DinoWMDynamics: lambda told: DinoWMDynamics(4, 1, 3, 2, 4, 1, 2, 4, 16, discrete=told),
    JepaWMDynamics: lambda told: JepaWMDynamics(4, (1, 1), 3, 2, Trunk(12, 1, 1), discrete=told),
}


@pytest.mark.parametrize("form", DISCRETE, ids=lambda form: form.__name__)
@torch.no_grad()
def test_discrete_actions_are_left_as_they_are_and_embedded(form: type[Dynamics]) -> None:
    torch.manual_seed(0)
    latents, actions = torch.randn(1, 2, 1, 4), torch.eye(3)[None, [[0, 1], [2, 2]]].flatten(2)
    spread = {"action_mean": [0.3, 0.3, 0.4], "action_std": [0.5, 0.5, 0.5]}
    for told in (True, False):
        model = lively(DISCRETE[form](told))
        before: Tensor = model(latents, actions)
        model.prepare(spread)
        assert torch.equal(model(latents, actions), before) == told
        assert (model(latents, actions.roll(1, dims=1)) - before).abs().max() > 1e-4
        # A block's two choices have rows of their own in the first layer, which are added.
        first = next(layer for layer in model.actions.modules() if isinstance(layer, torch.nn.Linear))
        chosen = first.weight[:, [0, 4]].sum(dim=1) + first.bias
        if told:
            torch.testing.assert_close(first(actions[0, 0]), chosen)
            reached = chosen if model.actions.embed is first else model.actions.embed[1:](chosen)
            torch.testing.assert_close(model.actions(actions[0, 0]), reached)


def test_statistics_and_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="the data's action has 3 numbers; action_dim is 2"):
        TransformerDynamics().prepare({"action_mean": [0.0] * 3, "action_std": [1.0] * 3})
    with pytest.raises(UserError, match="got width 128 and heads 5"):
        Trunk(heads=5)
    with pytest.raises(UserError, match="conditioning 'film'; expected one of adaln, features, token"):
        TransformerDynamics(conditioning="film")  # type: ignore[arg-type]


FORMS = {
    TransformerDynamics: lambda **own: TransformerDynamics(8, (1, 3), 2, 3, Trunk(16, 1, 2), **own),
    LeWMDynamics: lambda **own: LeWMDynamics(8, 2, 3, 1, 2, 4, 16, **own),
    DinoWMDynamics: lambda **own: DinoWMDynamics(8, 3, 2, 3, 4, 1, 2, 4, 16, **own),
    JepaWMDynamics: lambda **own: JepaWMDynamics(8, (1, 3), 2, 3, Trunk(16, 1, 2), **own),
    VJepa2ACDynamics: lambda **own: VJepa2ACDynamics(8, (1, 3), 2, 3, Trunk(16, 1, 2), state="none", **own),
    RecurrentDynamics: lambda: RecurrentDynamics(8, 3, 2, 3),
    MLPDynamics: lambda: MLPDynamics(8, 3, 2, 3),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_frames_of_another_size_are_refused_and_never_stretched_or_cut(form: type[Dynamics]) -> None:
    tokens, made = 1 if form is LeWMDynamics else 3, FORMS[form]()
    assert made(torch.zeros(2, 2, tokens, 8), torch.zeros(2, 2, 6)).shape == (2, 2, tokens, 8)
    for wrong in {1, 2, 4} - {tokens}:
        with pytest.raises(UserError, match=f"{form.__name__}: got {wrong} tokens a frame; expected {tokens}"):
            made(torch.zeros(2, 2, wrong, 8), torch.zeros(2, 2, 6))


@pytest.mark.parametrize("form", list(FORMS)[:5], ids=lambda form: form.__name__)
def test_a_window_of_nothing_is_refused(form: type[Dynamics]) -> None:
    with pytest.raises(UserError, match=rf"{form.__name__}\.window: got 0; expected a frame or more"):
        FORMS[form](window=0)


@torch.no_grad()
def test_a_state_follows_the_actions_and_tells_the_patches() -> None:
    torch.manual_seed(0)
    size = {"grid": (1, 2), "trunk": Trunk(16, 2, 2), "frame_skip": 2}
    model = lively(VJepa2ACDynamics(8, action_dim=7, **size))
    model.prepare({f"{name}_{kind}": [1.5] * 7 for name in ("action", "state") for kind in ("mean", "std")})
    seen, actions = torch.randn(3, 1, 3, 8), torch.randn(3, 4, 14)
    found = rollout(model, seen, actions[:, :0], actions)
    pose = seen[:, 0, 2, :7]
    for time, motion in enumerate(actions.flatten(1).unflatten(1, (-1, 7)).unbind(1)):
        pose = moved(pose, motion)
        if time % 2:
            torch.testing.assert_close(found[:, time // 2, 2, :7], pose, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[:, :, :2].var(dim=-1, unbiased=False), torch.ones(3, 4, 2), rtol=1e-2, atol=1e-2)
    other = seen.clone()
    other[:, 0, 2, 0] += 1.0
    assert (rollout(model, other, actions[:, :0], actions) - found)[:, 0, :2].abs().amax(dim=-1).min() > 1e-3
    added = lively(VJepa2ACDynamics(8, action_dim=3, state="sum", **size))
    seen, actions = torch.randn(2, 1, 3, 8), torch.randn(2, 1, 6)
    after = rollout(added, seen, actions[:, :0], actions)[:, 0, 2, :3]
    torch.testing.assert_close(after, seen[:, 0, 2, :3] + actions[:, 0, :3] + actions[:, 0, 3:])
    patches = added(seen, actions)[:, :, :2]
    added.prepare({"action_mean": [0.5] * 3, "action_std": [2.0] * 3, "state_mean": [-1.0] * 3, "state_std": [4.0] * 3})
    seen[:, :, 2] = 4.0 * seen[:, :, 2] - 1.0
    torch.testing.assert_close(added(seen, 2.0 * actions + 0.5)[:, :, :2], patches, rtol=1e-4, atol=1e-4)
    told = lively(VJepa2ACDynamics(8, action_dim=3, state="sum", reach=0.5, **size))
    told.prepare({"action_mean": [0.0] * 3, "action_std": [1.0] * 3, "state_mean": [0.0] * 5, "state_std": [1.0] * 5})
    after = rollout(told, seen, actions[:, :0], actions)[:, 0, 2]
    torch.testing.assert_close(after[:, :3], seen[:, 0, 2, :3] + 0.5 * (actions[:, 0, :3] + actions[:, 0, 3:]))
    assert not after[:, 3:].any()
    with pytest.raises(UserError, match="got 'pose' with an action_dim of 3"):
        VJepa2ACDynamics(8, action_dim=3)


@torch.no_grad()
def test_what_is_felt_goes_around_the_layers_at_both_ends() -> None:
    torch.manual_seed(0)
    model = JepaWMDynamics(8, (1, 2), 2, 3, Trunk(14, 2, 2), state_width=4).eval()
    seen, actions = torch.randn(2, 2, 2, 8), torch.randn(2, 2, 6)
    x = torch.cat([seen[..., :4] @ model.enter.weight.T + model.enter.bias, seen[..., 4:]], dim=-1)
    x = torch.nn.functional.layer_norm(x, (14,))  # blocks do nothing at first
    expected = torch.cat([x[..., :10] @ model.leave.weight.T + model.leave.bias, x[..., 10:]], dim=-1)
    torch.testing.assert_close(model(seen, actions), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="state_width: got 8"):
        JepaWMDynamics(8, trunk=Trunk(16, 2, 2), state_width=8)
