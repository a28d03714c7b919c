"""What every dynamics promises; a new file in the folder is tested by being there."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jepa_wm import dynamics
from jepa_wm.checkpoint import MODELS, build, spec
from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics import (
    DinoWMDynamics,
    Ensemble,
    JepaWMDynamics,
    PrefixDynamics,
    TransformerDynamics,
    Trunk,
    VJepa2ACDynamics,
    rollout,
)

FILES = [path.stem for path in Path(inspect.getfile(dynamics)).parent.glob("*.py") if path.stem != "__init__"]
CLASSES = [
    cls
    for stem in FILES
    for cls in vars(import_module(f"jepa_wm.dynamics.{stem}")).values()
    if inspect.isclass(cls) and issubclass(cls, Dynamics) and cls.__module__.endswith(stem)
    if cls.__init__ is not Dynamics.__init__
]


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def model(request: pytest.FixtureRequest) -> Dynamics:
    torch.manual_seed(0)
    own = {"latent_dim": 8, "action_dim": 2, "frame_skip": 3}
    whole: dict[type[Dynamics], Any] = {
        PrefixDynamics: lambda: PrefixDynamics(TransformerDynamics(**own, window=9)),
        DinoWMDynamics: lambda: DinoWMDynamics(**own, tokens=1, depth=2, heads=2, head_dim=4, hidden=16),
        Ensemble: lambda: Ensemble(TransformerDynamics(**own), 3),
        JepaWMDynamics: lambda: JepaWMDynamics(**own, grid=(1, 1), trunk=Trunk(16, 2, 2), state_width=4),
        VJepa2ACDynamics: lambda: VJepa2ACDynamics(**own, grid=(1, 1), trunk=Trunk(16, 2, 2), state="sum"),
    }
    made: Dynamics = whole.get(request.param, lambda: request.param(**own))()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def latents_of(model: Dynamics, batch: int, time: int) -> Tensor:
    """Random latents (B, T, N, D), one a frame, and the state's behind it where there must be one."""
    return torch.randn(batch, time, 2 if isinstance(model, VJepa2ACDynamics) else 1, 8)


@torch.no_grad()
def test_a_step_is_what_teacher_forcing_predicts(model: Dynamics) -> None:
    latents, actions = latents_of(model, 2, 5), torch.randn(2, 5, 6)
    forced = model(latents, actions)
    for time in range(5):
        state = model.start(latents[:, : time + 1], actions[:, :time])
        torch.testing.assert_close(model.latent(state), latents[:, time])
        stepped = model.latent(model.step(state, actions[:, time]))
        torch.testing.assert_close(stepped, forced[:, time], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_step_leaves_the_state_it_came_from_alone(model: Dynamics) -> None:
    state = model.start(latents_of(model, 2, 3), torch.randn(2, 2, 6))
    action = torch.randn(2, 6)
    first = model.latent(model.step(state, action)).clone()
    model.step(state, action + 1.0)
    torch.testing.assert_close(model.latent(model.step(state, action)), first)


@torch.no_grad()
def test_candidates_are_adjacent_and_actions_matter(model: Dynamics) -> None:
    seen, context, actions = latents_of(model, 2, 2), torch.randn(2, 1, 6), torch.randn(2, 3, 4, 6)
    together = rollout(model, seen, context, actions.flatten(0, 1)).unflatten(0, (2, 3))
    alone = rollout(model, seen[1:], context[1:], actions[1, 2:])
    torch.testing.assert_close(together[1, 2], alone[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0, 0], together[0, 1], atol=1e-3)


@torch.no_grad()
def test_actions_are_told_in_the_spread_of_the_data(model: Dynamics) -> None:
    latents, actions = latents_of(model, 2, 5), torch.randn(2, 5, 6)
    before = model(latents, actions)[:, :, :1]  # what follows a state would be in units of the state
    spread = {"action_mean": [1.0, -2.0], "action_std": [2.0, 0.5]}
    model.prepare(spread | {"state_mean": [0.0, 0.0], "state_std": [1.0, 1.0]})
    scaled = actions.unflatten(-1, (3, 2)) * torch.tensor([2.0, 0.5]) + torch.tensor([1.0, -2.0])
    torch.testing.assert_close(model(latents, scaled.flatten(-2))[:, :, :1], before, rtol=1e-4, atol=1e-4)
    assert (model(latents, actions)[:, :, :1] - before).abs().max() > 1e-3


def test_its_configuration_is_read_off_it(model: Dynamics) -> None:
    spread = {"action_mean": [0.1, 0.2], "action_std": [0.3, 0.4]}
    model.prepare(spread | {"state_mean": [0.5, 0.6], "state_std": [0.7, 0.8]})
    again = build(spec(model), within=MODELS)
    assert spec(again) == spec(model)
    again.load_state_dict(model.state_dict())
