"""An ensemble is its members, each alone with its weights."""

import copy

import pytest
import torch

from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics import (
    Ensemble,
    LeWMDynamics,
    MLPDynamics,
    PrefixDynamics,
    RecurrentDynamics,
    TransformerDynamics,
    Trunk,
    rollout,
    rollouts,
)
from jepa_wm.errors import UserError
from jepa_wm.optim import MEMBERS, adamw


def small(window: int = 3) -> TransformerDynamics:
    return TransformerDynamics(8, (1, 2), 2, 3, trunk=Trunk(16, 2, 2), window=window)


def ensemble(member: Dynamics, members: int = 3) -> Ensemble:
    torch.manual_seed(0)
    made = Ensemble(member, members)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    made.prepare({"action_mean": [0.5, -1.0], "action_std": [2.0, 3.0]})
    return made.eval()


def alone(made: Ensemble, member: Dynamics, number: int) -> Dynamics:
    """The member of this number, outside of the ensemble."""
    state = made.state_dict().items()
    member.load_state_dict({name.removeprefix(MEMBERS).replace("/", "."): value[number] for name, value in state})
    return member.train(made.training)


def test_the_datas_statistics_leave_what_members_have_learned() -> None:
    """As when a run is resumed: weights and averages are loaded, and then the data is shown."""
    made = ensemble(LeWMDynamics(8, 2, 3, depth=1, heads=2, head_dim=4, hidden=8), 2).train()
    latents, actions = torch.randn(6, 3, 1, 8), torch.randn(6, 3, 6)
    for _ in range(3):
        made.forced(latents, actions)
    before = {name: buffer.clone() for name, buffer in made.named_buffers()}
    made.prepare({"action_mean": [3.0, 4.0], "action_std": [5.0, 6.0]})
    after = dict(made.named_buffers())
    changed = {name.rpartition("/")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"mean", "std"}
    averages = [name for name in before if name.endswith("num_batches_tracked")]
    assert averages and all(after[name].tolist() == [3, 3] for name in averages)


def test_members_apart_keep_precision_and_mode() -> None:
    one = ensemble(small()).double().eval().apart()[0]
    assert not one.training and {parameter.dtype for parameter in one.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("form", "tokens"),
    [
        (small, 2),
        (lambda: PrefixDynamics(small(window=6)), 2),
        (lambda: RecurrentDynamics(8, 2, 2, 3, width=16), 2),
        (lambda: MLPDynamics(8, 1, 2, 3, width=16), 1),
    ],
    ids=["transformer", "prefix", "recurrent", "mlp"],
)
@torch.no_grad()
def test_each_member_imagines_from_its_own_latents(form, tokens: int) -> None:
    made = ensemble(form())
    seen, context, actions = torch.randn(2, 3, tokens, 8), torch.randn(2, 2, 6), torch.randn(8, 4, 6)
    apart = torch.stack([rollout(alone(made, form(), i), seen, context, actions) for i in range(3)])
    torch.testing.assert_close(rollouts(made, seen, context, actions), apart, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rollout(made, seen, context, actions), apart.mean(dim=0), rtol=1e-4, atol=1e-4)
    forced = torch.stack([alone(made, form(), i)(seen, actions[:2, :3]) for i in range(3)])
    torch.testing.assert_close(made.forced(seen, actions[:2, :3]), forced, rtol=1e-4, atol=1e-4)


def test_a_member_learns_from_its_own_error_alone() -> None:
    made = ensemble(small())
    latents, actions = torch.randn(2, 3, 2, 8), torch.randn(2, 3, 6)
    made.forced(latents, actions)[1].square().mean().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad[[0, 2]].abs().max() == 0, name
    assert any(parameter.grad[1].abs().max() > 0 for parameter in made.parameters())


def test_members_start_apart_and_their_biases_do_not_decay() -> None:
    made = copy.deepcopy(Ensemble(small(), 2))
    weight = made.get_parameter("members/blocks/0/attention/qkv/weight")
    assert (weight[0] - weight[1]).abs().max() > 0.01
    one, two = (
        {
            name: group["decays"]
            for group in adamw(module, 1e-3, 0.1, (0.9, 0.95)).param_groups
            for name in group["param_names"]
        }
        for module in (made, small())
    )
    assert {name.removeprefix(MEMBERS).replace("/", "."): decays for name, decays in one.items()} == two


def test_members_drop_out_in_training_each_for_itself_and_not_in_evaluation() -> None:
    made = ensemble(TransformerDynamics(8, trunk=Trunk(16, 1, 2, dropout=0.5)))
    latents, actions = torch.randn(2, 3, 1, 8), torch.randn(2, 3, 10)
    torch.testing.assert_close(made(latents, actions), made(latents, actions))
    made.train()
    assert not torch.allclose(made(latents, actions), made(latents, actions))
    alike = Ensemble(TransformerDynamics(8, trunk=Trunk(16, 1, 2, dropout=0.5)), 2)
    with torch.no_grad():
        for parameter in alike.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter[:1]).expand_as(parameter))
    one, other = alike.forced(latents, actions)
    assert not torch.allclose(one, other)
    # As trainers do after a validation, which note the mode of each module and set it again.
    modes = [(module, module.training) for module in alike.modules()]
    alike.eval()
    torch.testing.assert_close(*alike.forced(latents, actions))
    for module, mode in modes:
        module.training = mode
    assert not torch.allclose(*alike.forced(latents, actions))


def test_members_with_batch_norm_have_statistics_of_their_own() -> None:
    def form() -> LeWMDynamics:
        return LeWMDynamics(8, 2, 3, depth=1, heads=2, head_dim=4, hidden=16, dropout=0.0)

    made = ensemble(form()).train()
    latents, actions = torch.randn(4, 3, 1, 8), torch.randn(4, 3, 6)
    members = [alone(made, form(), i) for i in range(3)]
    torch.testing.assert_close(made.forced(latents, actions), torch.stack([one(latents, actions) for one in members]))
    for number, one in enumerate(members):
        running = made.get_buffer("members/project/1/running_var")[number]
        torch.testing.assert_close(running, one.get_buffer("project.1.running_var"))


def test_what_cannot_be_an_ensemble_is_refused() -> None:
    with pytest.raises(UserError, match="got 1 members of class TransformerDynamics; expected two or more"):
        Ensemble(small(), 1)
    with pytest.raises(UserError, match="no ensemble"):
        Ensemble(Ensemble(small(), 2), 2)
