"""A world whose latents are positions: plans towards images, what is refused, and saving."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics import TransformerDynamics
from jepa_wm.encoders import ClipText, GridPool, TextAlignment, ViT
from jepa_wm.errors import UserError
from jepa_wm.planning import CEM
from jepa_wm.world_model import WorldModel


class Where(nn.Module):
    """The latent of an image is the first two values of its first row, in units of 100."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels[:, None, 0, 0, :2].float() / 100

    def pooled(self, pixels: Tensor) -> Tensor:
        return self(pixels)[:, 0]


class Position(NamedTuple):
    at: Tensor


class Walk(Dynamics):
    """Each action of a block moves the position by a tenth of itself."""

    action_dim, frame_skip = 2, 5

    def start(self, latents: Tensor, actions: Tensor) -> Position:
        return Position(latents[:, -1])

    def step(self, state: Position, action: Tensor) -> Position:
        return Position(state.at + action.unflatten(-1, (5, 2)).sum(dim=1)[:, None] / 10)

    def latent(self, state: Position) -> Tensor:
        return state.at

    def expand(self, state: Position, candidates: int) -> Position:
        return Position(state.at.repeat_interleave(candidates, dim=0))


def images(*points: tuple[float, float]) -> Tensor:
    pixels = torch.zeros(len(points), 3, 4, 4, dtype=torch.uint8)
    pixels[:, 0, 0, :2] = (torch.tensor(points) * 100).to(torch.uint8)
    return pixels


@pytest.fixture
def world() -> WorldModel:
    return WorldModel(Where(), Walk())  # type: ignore[arg-type]


def test_the_plan_leads_from_each_start_to_its_goal(world: WorldModel) -> None:
    start, goal = [(0.2, 0.9), (1.0, 1.0)], [(1.5, 0.4), (1.0, 0.2)]
    plan = world.plan(images(*start), images(*goal), CEM(iterations=15), horizon=4)
    blocks = plan.actions.repeat(1, 1, 5)
    arrived = world.imagine(images(*start), blocks)[:, -1, 0]
    assert (arrived - torch.tensor(goal)).abs().max() < 0.06
    assert plan.actions.abs().max() <= 1


def test_slices_of_environments_make_the_same_plan(world: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    start, goal = images((0.2, 0.9), (1.0, 1.0), (0.5, 0.1)), images((1.5, 0.4), (1.0, 0.2), (0.9, 0.9))
    whole = world.plan(start, goal, CEM(samples=64, elites=8), horizon=3)
    monkeypatch.setattr("jepa_wm.world_model.ROWS", 128)
    torch.testing.assert_close(world.plan(start, goal, CEM(samples=64, elites=8), horizon=3).actions, whole.actions)


def test_one_goal_serves_all_environments_and_a_wrong_number_is_refused(world: WorldModel) -> None:
    seen = images((0.2, 0.9), (1.0, 1.0), (2.0, 0.1))
    shared = world.plan(seen, images((0.5, 0.5))[0], horizon=2)
    torch.testing.assert_close(shared.actions, world.plan(seen, images(*[(0.5, 0.5)] * 3), horizon=2).actions)
    with pytest.raises(UserError, match="got 2 goal images; expected 1 or 3"):
        world.plan(seen, images((0.5, 0.5), (0.1, 0.1)))
    with pytest.raises(UserError, match="no text alignment"):
        world.plan(seen, "the left room")


def real() -> WorldModel:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    dynamics = TransformerDynamics(6, 1, 2, 5, width=12, depth=1, heads=2)
    with torch.no_grad():
        dynamics.leave.weight.normal_()
    return WorldModel(encoder, dynamics, TextAlignment(6, ClipText(8, 16, 1, 2))).eval()


def test_a_sentence_is_a_goal_and_the_saved_model_plans_the_same(tmp_path: Path) -> None:
    model, seen = real(), torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    plan = model.plan(seen, ["the left room", "the right room"], CEM(32, 4, 3), horizon=3)
    assert (plan.trace["cost"][-1] <= plan.trace["cost"][0]).all() and (plan.cost <= 2).all()
    model.save_pretrained(tmp_path / "model")
    again = WorldModel.from_pretrained(tmp_path).plan(
        seen, ["the left room", "the right room"], CEM(32, 4, 3), horizon=3
    )
    torch.testing.assert_close(again.actions, plan.actions)
    with pytest.raises(UserError, match="got 3 sentences; expected 1 or 2"):
        model.plan(seen, ["a", "b", "c"])


def test_a_folder_without_dynamics_is_no_world_model(tmp_path: Path) -> None:
    model = real()
    model.save_pretrained(tmp_path / "model")
    for file in (tmp_path / "model" / "dynamics").iterdir():
        file.unlink()
    (tmp_path / "model" / "dynamics").rmdir()
    with pytest.raises(UserError, match="holds no 'dynamics'"):
        WorldModel.from_pretrained(tmp_path)
