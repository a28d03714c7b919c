"""A world whose latents are positions: plans towards images, what is refused, and saving."""

import inspect
import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor, nn

from jepa_wm.checkpoint import save_modules
from jepa_wm.contracts import Dynamics, Future, Planner
from jepa_wm.dynamics import Ensemble, LeWMDynamics, TransformerDynamics, Trunk, rollout, rollouts
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.dynamics.calibration import Calibration
from jepa_wm.dynamics.heads import StateHead
from jepa_wm.dynamics.heads.head import PARTS
from jepa_wm.dynamics.proposal import Proposal, propose
from jepa_wm.encoders import ClipText, GridPool, PatchFrames, StateFrames, TextAlignment, ViT
from jepa_wm.encoders.frames import Frames
from jepa_wm.encoders.linear import packed
from jepa_wm.errors import UserError
from jepa_wm.files import write_json
from jepa_wm.goals import Image, Sentence, StepsToGo
from jepa_wm.observations import Observation
from jepa_wm.planning import CEM, LBFGS, Amortised, AugmentedLagrangian, CategoricalCEM, Hybrid
from jepa_wm.planning.costs import Distance
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.slopes import slopes
from jepa_wm.precision import mixed
from jepa_wm.released import load_world_model
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

UNIT = {"action_mean": [0.0, 0.0], "action_std": [1.0, 1.0]}


class Where(nn.Module):
    """The latent of an image is the first two values of its first row, in units of 100."""

    latent_dim = 2

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

    latent_dim, action_dim, frame_skip = 2, 2, 5

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
    plan = world.plan(images(*start), images(*goal), Search(CEM(iterations=15), horizon=4))
    blocks = plan.actions.repeat(1, 1, 5)
    arrived = world.imagine(images(*start), blocks).latents[:, -1, 0]
    assert (arrived - torch.tensor(goal)).abs().max() < 0.06
    assert plan.actions.abs().max() <= 1


@pytest.mark.parametrize("kind", [TransformerDynamics, LeWMDynamics])
def test_a_model_in_float64_imagines_and_plans_in_float64(kind: type[Dynamics]) -> None:
    torch.manual_seed(0)
    model = WorldModel(ViT(patch=8, dim=12, depth=1, heads=2), kind(12)).eval()
    seen = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    blocks = torch.rand(2, 3, 10) - 0.5
    single = model.imagine(seen, blocks).latents
    found = model.double().imagine(seen, blocks).latents
    assert found.dtype == torch.float64 and 0 < (found - single).abs().max() < 1e-5
    plan = model.plan(seen, seen.flip(0), Search(CEM(16, 4, 2), horizon=2))
    ahead = model.imagine(seen, plan.actions.repeat(1, 1, 5)).latents
    cost = Distance().over_time(Distance().between(ahead[:, None], model.encode(seen.flip(0)[:, None])[:, 0]))
    torch.testing.assert_close(plan.cost, cost[:, 0], rtol=1e-9, atol=0)


def test_a_model_that_is_in_training_imagines_and_plans_as_one_that_is_not_and_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model = WorldModel(ViT(patch=8, dim=12, depth=1, heads=2), LeWMDynamics(12, depth=1, heads=2, head_dim=4, hidden=8))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    seen, actions = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8), torch.rand(2, 3, 10)
    found = []
    for learning in (False, True):
        model.train(learning).encoder.eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        plan = model.plan(seen, seen.flip(0), Search(CEM(4, 1, 2), horizon=2))
        found.append((model.imagine(seen, actions).latents, plan.actions))
        torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
        modes = {part.training for part in model.dynamics.modules()}
        assert modes == {learning} and not any(part.training for part in model.encoder.modules())
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


def test_slices_of_environments_make_the_same_plan(world: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    start, goal = images((0.2, 0.9), (1.0, 1.0), (0.5, 0.1)), images((1.5, 0.4), (1.0, 0.2), (0.9, 0.9))
    whole = world.plan(start, goal, Search(CEM(samples=64, elites=8), horizon=3))
    monkeypatch.setattr("jepa_wm.dynamics.cost.ROWS", 128)
    torch.testing.assert_close(
        world.plan(start, goal, Search(CEM(samples=64, elites=8), horizon=3)).actions, whole.actions
    )


def test_one_goal_serves_all_environments_and_a_wrong_number_is_refused(world: WorldModel) -> None:
    seen = images((0.2, 0.9), (1.0, 1.0), (2.0, 0.1))
    shared = world.plan(seen, images((0.5, 0.5))[0], Search(horizon=2))
    torch.testing.assert_close(shared.actions, world.plan(seen, images(*[(0.5, 0.5)] * 3), Search(horizon=2)).actions)
    with pytest.raises(UserError, match="got 2 goals; expected 1 or 3"):
        world.plan(seen, images((0.5, 0.5), (0.1, 0.1)))
    with pytest.raises(UserError, match=r"got 2 goals; expected 1$"):
        world.plan(seen[:1], images((0.5, 0.5), (0.1, 0.1)))
    with pytest.raises(UserError, match="no text alignment"):
        world.plan(seen, "the left room")


def real() -> WorldModel:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    dynamics = TransformerDynamics(6, (1, 1), 2, 5, trunk=Trunk(12, 1, 2))
    with torch.no_grad():
        dynamics.leave.weight.normal_()
    return WorldModel(encoder, dynamics, TextAlignment(6, ClipText(8, 16, 1, 2))).eval()


def test_a_sentence_is_a_goal_and_the_saved_model_plans_the_same(tmp_path: Path) -> None:
    model, seen = real(), torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    plan = model.plan(seen, ["the left room", "the right room"], Search(CEM(32, 4, 3), horizon=3))
    assert (plan.trace["cost"][-1] <= plan.trace["cost"][0]).all() and (plan.cost <= 2).all()
    model.save_pretrained(tmp_path / "model")
    again = WorldModel.from_pretrained(tmp_path).plan(
        seen, ["the left room", "the right room"], Search(CEM(32, 4, 3), horizon=3)
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
    (tmp_path / "model" / "parts.json").unlink()
    with pytest.raises(UserError, match="holds no 'dynamics'"):
        WorldModel.from_pretrained(tmp_path)


def ensemble() -> WorldModel:
    """A world model of three predictors that differ."""
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2)).eval()
    members = Ensemble(TransformerDynamics(6, trunk=Trunk(12, 1, 2)), 3).eval()
    with torch.no_grad():
        for parameter in members.parameters():
            parameter.add_(torch.randn_like(parameter))
    return WorldModel(encoder, members)


def test_an_ensemble_says_how_far_its_members_are_apart_and_a_single_predictor_does_not() -> None:
    model = ensemble()
    seen, actions = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.rand(4, 3, 10)
    found, latents = model.imagine(seen, actions), model.encode(seen[:, None])
    members = rollouts(model.dynamics, latents, actions[:2, :0], actions).detach()
    torch.testing.assert_close(found.latents, members.mean(dim=0))
    apart = (members - members.mean(dim=0)).square().sum(dim=0) / 2
    assert found.uncertainty is not None
    torch.testing.assert_close(found.uncertainty, apart.mean(dim=(-2, -1)).sqrt())
    assert real().imagine(seen, torch.rand(2, 3, 10)).uncertainty is None


def test_the_error_to_be_expected_grows_with_the_way_from_the_last_frame_that_was_seen() -> None:
    model = ensemble()
    assert model.calibration is not None
    model.calibration.powers.copy_(torch.tensor([0.0, 1.0]))
    model.calibration.scale.fill_(2.0)
    seen, actions = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8), torch.rand(6, 3, 10)
    context = torch.rand(2, 1, 10)
    found, latents = model.imagine(seen, actions, context), model.encode(seen).detach()
    assert found.uncertainty is not None
    for row in range(6):  # three candidates of each observation, adjacent
        way = (found.latents[row] - latents[row // 3, -1]).square().mean(dim=(-2, -1)).sqrt()
        torch.testing.assert_close(found.uncertainty[row], 2 * way)


def transformer(**parts: Any) -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(ViT(patch=8, dim=12, depth=1, heads=2), TransformerDynamics(12, trunk=Trunk(8, 1, 2)), **parts)


HEAD = StateHead(12, state_dim=2, width=8)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        *(
            ({name: HEAD}, f"a head named '{name}'")
            for name in ("dynamics", "text", "heads", "a/b", "a.b", "keys", "training")
        ),
        ({"a": HEAD, "b": HEAD}, "one head under two names"),
        ({"a": nn.Linear(2, 2)}, "'a' is a Linear; expected a Head"),
    ],
)
def test_heads_that_would_not_come_back_are_refused(heads: dict[str, nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=message):
        transformer(heads=heads)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"bounds": ActionBounds(5, 2)}, r"bounds with .* \(5, 2\); expected those of the dynamics, \(2, 5\)"),
        ({"frames": StateFrames(PatchFrames(), 3)}, "latents are 22 wide, the dynamics' latent_dim is 12"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(parts: dict[str, nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=f"WorldModel: .*{message}"):
        transformer(**parts)


def test_no_part_of_a_world_model_is_a_name_for_a_head() -> None:
    assert set(inspect.signature(WorldModel).parameters) == set(PARTS)


@pytest.mark.parametrize("part", ["dynamics", "whole"])
def test_a_model_in_bfloat16_imagines_much_the_same(part: str) -> None:
    model = transformer(heads={"state": HEAD}).eval()
    seen, blocks = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8), torch.rand(2, 3, 10) - 0.5
    exact = model.imagine(seen, blocks)
    (model.dynamics if part == "dynamics" else model).bfloat16()
    found = model.imagine(seen, blocks)
    HEAD.float()
    torch.testing.assert_close(found.latents, exact.latents, rtol=0.1, atol=0.05)
    assert found.latents.dtype == found.readouts["state"].dtype == torch.float32
    with pytest.raises(UserError, match="float16; expected float32, bfloat16 or float64"):
        model.half().imagine(seen, blocks)
    HEAD.float()


def test_what_is_seen_may_be_of_numpy() -> None:
    model, seen, blocks = real(), torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8), torch.rand(2, 3, 10)
    shown, search = seen.numpy(), Search(CEM(8, 2, 1), horizon=2)
    shown.flags.writeable = False
    for given in (shown, np.flip(shown, 0)):
        same = torch.from_numpy(given.copy())
        assert torch.equal(model.encode(given[:, None]), model.encode(same[:, None]))
        assert torch.equal(model.imagine(given, blocks).latents, model.imagine(same, blocks).latents)
        wanted = model.plan(same, same[0], search).actions
        for goal in (given[0], Observation(given[0])):
            assert torch.equal(model.plan(given, goal, search).actions, wanted)


def test_what_is_felt_may_be_of_numpy() -> None:
    world, search = WorldModel(Where(), Walk(), frames=Felt()), Search(CEM(8, 2, 1), horizon=2)  # type: ignore[arg-type]
    seen, state = images((0.0, 0.0), (0.0, 0.0)), torch.tensor([(0.2, 0.9), (1.0, 1.0)])
    wanted = world.plan(seen, Observation(seen, state.flip(0)), search, state=state)
    goal = Observation(seen.numpy(), state.flip(0).numpy())  # type: ignore[arg-type]
    assert torch.equal(world.plan(seen.numpy(), goal, search, state=state.numpy()).actions, wanted.actions)
    part = Image(goal).of(torch.tensor([False, True])).place(world, 1)
    assert torch.equal(part, state[None, :1])
    blocks = torch.zeros(2, 1, 10)
    found = world.imagine(seen.numpy(), blocks, state=state.numpy()).latents
    assert torch.equal(found, world.imagine(seen, blocks, state=state).latents)


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ({"pixels": np.zeros((3, 16, 16), np.uint8)}, r'got dict; .*give its "pixels", and its "state" as state'),
        ([[0]], "got list; expected a tensor or a NumPy array of numbers$"),
        (np.array(["door"]), "got ndarray; expected a tensor or a NumPy array of numbers$"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_to_give(seen: Any, message: str) -> None:
    model = real()
    for ask in (
        lambda: model.encode(seen),
        lambda: model.imagine(seen, torch.zeros(1, 1, 10)),
        lambda: model.plan(seen, "the door"),
        lambda: model.plan(seen, torch.zeros(3, 16, 16, dtype=torch.uint8)),
    ):
        with pytest.raises(UserError, match=f"observation: {message}"):
            ask()


def test_what_cannot_be_seen_or_done_is_refused() -> None:
    model, seen = transformer().eval(), torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    blocks = torch.zeros(2, 3, 10)
    for pixels, actions, context in (
        (seen[:0], blocks, None),
        (seen, blocks[:0], None),
        (seen, blocks.tolist(), None),
        (seen[:, None].expand(-1, 2, -1, -1, -1), blocks.repeat(2, 1, 1), torch.zeros(4, 1, 10)),
        (seen.float(), blocks, None),
    ):
        with pytest.raises(UserError, match=r"(imagine|encode|actions): got"):
            model.imagine(pixels, actions, context)
    with pytest.raises(UserError, match=r"encode: got torch.uint8 \(2, 3, 16, 16\); expected a tensor of pixels"):
        model.encode(seen)
    with pytest.raises(UserError, match="one sample at least"):
        model.plan(seen[:0], seen[0])


def test_a_folder_with_its_parts_exchanged_is_refused(tmp_path: Path) -> None:
    transformer().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "dynamics").rename(tmp_path / "kept")
    shutil.copytree(tmp_path / "model" / "encoder", tmp_path / "model" / "dynamics")
    with pytest.raises(UserError, match="dynamics holds a ViT; expected its dynamics"):
        WorldModel.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (([-1.0], [1.0]), "action_bounds has 1 numbers; action_dim is 2"),
        ([-1.0, 1.0], "action_bounds has 0 numbers; action_dim is 2"),
        (([float("nan"), -1.0], [1.0, 1.0]), "action_bounds: got .*; expected numbers"),
        (([2.0, -1.0], [1.0, 1.0]), "expected lower ones first"),
        (([-1.0, -1.0],), "expected a pair of lists"),
    ],
)
def test_bounds_that_are_none_are_refused(bounds: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ActionBounds(2, 5).prepare(UNIT | {"action_bounds": bounds})


def test_an_endless_bound_is_none() -> None:
    bounds = ActionBounds(2, 5)
    statistics = {"action_mean": [0.0, 1.0], "action_std": [1.0, 2.0]}
    bounds.prepare(statistics | {"action_bounds": ([-float("inf"), -0.5], [None, float("inf")])})
    assert (bounds.low.tolist(), bounds.high.tolist()) == ([-3.0, -0.5], [3.0, 7.0])
    with pytest.raises(UserError, match="action_mean has 0 numbers; action_dim is 2"):
        bounds.prepare(statistics | {"action_mean": 0.0})


def test_what_is_no_action_of_the_world_is_refused_or_clipped() -> None:
    model, seen = real(), torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    model.bounds.prepare(
        {"action_mean": [0.0, 0.0], "action_std": [1.0, 1.0], "action_bounds": ([-0.5, None], [0.25, None])}
    )
    wild = torch.tensor([0.0, 2.5] * 4 + [0.7, -4.0])[None, None]
    with pytest.raises(UserError, match=r"expected \[-0.5, -3.0\] to \[0.25, 3.0\]; clip=True clips"):
        model.imagine(seen, wild)
    rounded = torch.tensor([-0.5 - 4e-7, -3.0 - 2e-6] + [0.0] * 8)[None, None]
    torch.testing.assert_close(
        model.bounds(rounded), torch.tensor([-0.5, -3.0] + [0.0] * 8)[None, None], rtol=0, atol=0
    )
    with pytest.raises(UserError, match="clip=True"):
        model.bounds(rounded - 4e-6)
    tame = torch.tensor([0.0, 2.5] * 4 + [0.25, -3.0])[None, None]
    torch.testing.assert_close(model.imagine(seen, wild, clip=True).latents, model.imagine(seen, tame).latents)
    with pytest.raises(UserError, match="blocks of 8 numbers; expected 10"):
        model.imagine(seen, torch.zeros(1, 1, 8))
    with pytest.raises(UserError, match="NaN or infinity"):
        model.imagine(seen, torch.full((1, 1, 10), torch.nan))
    with pytest.raises(UserError, match="2 frames with 0 blocks of actions between them"):
        model.imagine(seen[:, None].repeat(1, 2, 1, 1, 1), torch.zeros(1, 1, 10))
    for pixels, actions in ((seen, tame[0]), (seen[0], tame), (seen, tame[:, :0])):
        with pytest.raises(UserError, match=r"imagine: got pixels .* and actions .*B and K 1 or more"):
            model.imagine(pixels, actions)
    with pytest.raises(UserError, match="context: got list"):
        model.imagine(seen[:, None].repeat(1, 2, 1, 1, 1), tame, [[[0.0]]])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="complex64; expected real numbers"):
        model.imagine(seen, tame.to(torch.complex64))
    torch.testing.assert_close(model.imagine(seen, tame.numpy()).latents, model.imagine(seen, tame).latents)
    # What numpy gives is in float64.
    torch.testing.assert_close(model.imagine(seen, tame.double()).latents, model.imagine(seen, tame).latents)


def test_plans_stay_within_the_bounds_of_the_world() -> None:
    model, seen = real(), torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    model.bounds.prepare(
        {"action_mean": [0.0, 0.0], "action_std": [1.0, 1.0], "action_bounds": ([2.0, -0.1], [3.0, 0.1])}
    )
    actions = model.plan(seen, seen.flip(0), Search(CEM(32, 4, 3), horizon=3)).actions
    assert actions[..., 0].min() >= 2 and actions[..., 0].max() <= 3 and actions[..., 1].abs().max() <= 0.1


def test_the_context_is_read() -> None:
    model = real()
    model.dynamics.window = model.dynamics.blocks[0].attention.window = 3
    frames, actions = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8), torch.rand(2, 4, 10)
    with torch.no_grad():
        model.dynamics.blocks[0].modulation.weight.normal_()
        latents = model.encode(frames)
        expected = rollout(model.dynamics, latents, actions[:, :2], actions[:, 2:])
    torch.testing.assert_close(model.imagine(frames, actions[:, 2:], actions[:, :2]).latents, expected)
    assert not torch.allclose(model.imagine(frames[:, -1], actions[:, 2:]).latents, expected, atol=1e-4)


def test_the_saved_folder_is_a_hub_folder_and_another_format_is_refused(tmp_path: Path) -> None:
    model = real()
    model.save_pretrained(tmp_path / "saved")
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "to the next.\n\n| part |" in card and "state" not in card
    assert card.startswith("---\nlibrary_name: jepa_wm") and "| `dynamics` | `TransformerDynamics` |" in card
    (tmp_path / "saved" / "pictures").mkdir()
    assert WorldModel.from_pretrained(tmp_path / "saved").bounds.high.tolist() == [1.0, 1.0]
    (tmp_path / "saved" / "world_model.json").write_text('{"format": 9}')
    with pytest.raises(UserError, match="is of format 9; expected 2"):
        WorldModel.from_pretrained(tmp_path / "saved")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("bounds", None, "lacks bounds, which was saved with it"),
        ("bounds/config.json", None, r"bounds/config.json does not exist"),
        ("text/model.safetensors", None, "holds no model: model.safetensors is missing"),
        ("dynamics/model.safetensors", "", "dynamics/model.safetensors is broken"),
        ("dynamics/model.safetensors", "no weights", "dynamics/model.safetensors is broken"),
        ("dynamics/config.json", "{", "is not valid JSON"),
        ("dynamics/config.json", "[]", "describes no model; got a list"),
        (
            "dynamics/config.json",
            '{"class_path": "jepa_wm.dynamics.TransformerDynamics", "init_args": {"width": 12}}',
            "unexpected keyword argument 'width'; the file is broken, or another version of jepa_wm made it",
        ),
        (
            "dynamics/config.json",
            '{"class_path": "jepa_wm.dynamics.MLPDynamics", "init_args": {"width": -1}}',
            "cannot build 'jepa_wm.dynamics.MLPDynamics'",
        ),
        (
            "dynamics/config.json",
            '{"class_path": "jepa_wm.dynamics.MLPDynamics"}',
            "model.safetensors does not fit .*config.json",
        ),
        ("parts.json", "{}", "is no list of names; it is broken"),
        ("world_model.json", "[]", r"is of format \[\]; expected 2"),
    ],
)
def test_what_is_broken_or_lost_since_it_was_saved_is_said(
    file: str, content: str | None, message: str, tmp_path: Path
) -> None:
    real().save_pretrained(tmp_path / "saved")
    place = tmp_path / "saved" / file
    if content is not None:
        place.write_text(content)
    elif place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    with pytest.raises(UserError, match=message) as caught:
        WorldModel.from_pretrained(tmp_path / "saved")
    assert "\n" not in str(caught.value)


def test_a_folder_is_saved_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("jepa_wm.world_model.write_card", full)
    with pytest.raises(OSError, match="no space"):
        real().save_pretrained(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").touch()
    with pytest.raises(UserError, match=r"run holds manifest[.]json, which is no part of a saved model"):
        real().save_pretrained(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["manifest.json"]
    for _ in range(2):
        real().save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "world_model.json").is_file()


@pytest.mark.parametrize("own", ["results.jsonl", ".git/HEAD", "encoder/notes.txt"])
def test_what_was_put_beside_a_saved_model_is_not_deleted_by_the_next(own: str, tmp_path: Path) -> None:
    real().save_pretrained(tmp_path)
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("mine")
    with pytest.raises(UserError, match=own.split("/")[0] + ".*would be deleted"):
        real().save_pretrained(tmp_path)
    assert (tmp_path / own).read_text() == "mine"


@pytest.mark.parametrize("place", ["run", "run/model", "run/checkpoints/step-000010"])
def test_the_model_of_a_run_of_another_format_is_refused(place: str, tmp_path: Path) -> None:
    parts = tmp_path / place if place != "run" else tmp_path / "run" / "model"
    real().save_pretrained(parts)
    (parts / "world_model.json").unlink()  # which a run has not
    write_json(tmp_path / "run" / "manifest.json", {"format": 2})
    load_world_model(tmp_path / place)
    write_json(tmp_path / "run" / "manifest.json", {"format": 9})
    with pytest.raises(UserError, match="run is not of format 2; another version"):
        load_world_model(tmp_path / place)


@pytest.mark.parametrize("lost", ["bounds", "text", "frames"])
def test_a_run_that_lost_a_part_is_refused_and_not_filled_up(lost: str, tmp_path: Path) -> None:
    model = real()
    save_modules(tmp_path / "run" / "model", {name: part for name, part in model.named_children() if name != "heads"})
    WorldModel.from_pretrained(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model" / lost)
    with pytest.raises(UserError, match=f"lacks {lost}, which was saved with it"):
        WorldModel.from_pretrained(tmp_path / "run")


def test_a_model_whose_weights_are_not_numbers_says_so_and_imagines_nothing() -> None:
    model, seen = real(), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    next(parameter for parameter in model.dynamics.parameters()).data.fill_(torch.nan)
    with pytest.raises(UserError, match="answers with NaN or infinity"):
        model.imagine(seen, torch.zeros(1, 2, 10))


@pytest.mark.parametrize("part", ["read", "proposal", "calibration"])
def test_parts_that_read_other_latents_are_refused(part: str) -> None:
    model = real()
    width = model.dynamics.latent_dim + 1
    given: dict[str, Any] = {
        "read": {"heads": {"read": StateHead(width)}},
        "proposal": {"proposal": Proposal(width)},
        "calibration": {"calibration": Calibration(width)},
    }[part]
    dynamics = Ensemble(model.dynamics, 2) if part == "calibration" else model.dynamics
    with pytest.raises(UserError, match=f"'{part}' reads latents of width {width}"):
        WorldModel(model.encoder, dynamics, frames=model.frames, bounds=model.bounds, **given)


def test_a_name_is_fetched_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real().save_pretrained(tmp_path / "saved")
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **_: {"somebody/rooms": tmp_path / "saved"}[name]
    )
    assert isinstance(WorldModel.from_pretrained("somebody/rooms").dynamics, TransformerDynamics)

    def offline(name: str, **_: Any) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(
        UserError, match=r"is no folder here, and the Hugging Face hub did not give it \(no connection\)"
    ):
        WorldModel.from_pretrained("somebody/else")


@pytest.mark.parametrize("name", ["/nowhere", "runs/-no name-"])
def test_what_can_be_no_name_on_the_hub_is_no_folder_either(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}'? is no"):
        WorldModel.from_pretrained(name)


def test_a_state_that_is_not_a_number_is_refused_and_the_card_says_that_there_is_one(tmp_path: Path) -> None:
    encoder = ViT(patch=8, dim=24, depth=1, heads=2)
    model = WorldModel(
        encoder, TransformerDynamics(34, (4, 4), 2, 5, Trunk(24, 1, 2)), frames=StateFrames(PatchFrames(), 3)
    )
    seen, actions = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8), torch.zeros(1, 2, 10)
    assert model.imagine(seen, actions, state=torch.zeros(1, 3)).latents.shape == (1, 2, 16, 34)
    model.save_pretrained(tmp_path / "saved")
    assert "want `state=` (B, 3), and a goal is" in (tmp_path / "saved" / "README.md").read_text()
    with pytest.raises(UserError, match="NaN or infinity in the state"):
        model.imagine(seen, actions, state=torch.full((1, 3), torch.nan))
    with pytest.raises(UserError, match="got a state of none; expected 3"):
        model.imagine(seen, actions)


class Felt(Frames):
    """Latents that are the state itself."""

    state_dim = 2

    def latent_dim(self, encoder: nn.Module) -> int:
        return 2

    def forward(self, encoder: nn.Module, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        assert state is not None
        return state[:, :, None]


def test_a_plan_leads_from_the_state_that_is_felt_to_that_of_the_goal() -> None:
    world = WorldModel(Where(), Walk(), frames=Felt())  # type: ignore[arg-type]
    seen = images((0.0, 0.0), (0.0, 0.0))
    start, goal = torch.tensor([(0.2, 0.9), (1.0, 1.0)]), torch.tensor([(1.5, 0.4), (1.0, 0.2)])
    plan = world.plan(seen, Observation(seen, goal), Search(CEM(iterations=15), horizon=4), state=start)
    arrived = world.imagine(seen, plan.actions.repeat(1, 1, 5), state=start).latents[:, -1, 0]
    assert (arrived - goal).abs().max() < 0.06
    shared = world.plan(seen[0], Observation(seen[0], goal[0]), Search(CEM(iterations=15), horizon=4), state=start[0])
    torch.testing.assert_close(shared.actions, plan.actions[:1])


def test_a_goal_without_the_state_that_the_model_reads_is_refused() -> None:
    encoder = ViT(patch=8, dim=24, depth=1, heads=2)
    dynamics = TransformerDynamics(34, (4, 4), 2, 5, Trunk(24, 1, 2))
    model = WorldModel(encoder, dynamics, frames=StateFrames(PatchFrames(), 3))
    seen, state = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.rand(2, 3)
    with pytest.raises(UserError, match=r"reads the state, 3 numbers, beside it; give both, as Observation"):
        model.plan(seen, seen, Search(CEM(4, 2, 1), horizon=2), state=state)
    with pytest.raises(UserError, match="got a state of none; expected 3"):
        model.plan(seen, Observation(seen, state), Search(CEM(4, 2, 1), horizon=2))
    with pytest.raises(UserError, match="got 2 images with 1 states; expected one state for each"):
        model.plan(seen, Observation(seen, state[:1]), Search(CEM(4, 2, 1), horizon=2), state=state)
    costs = [
        model.plan(seen[:1], Observation(seen[:1], felt[None]), Search(CEM(4, 2, 1), horizon=2), state=state[:1]).cost
        for felt in (state[0], state[0] + 5)
    ]
    assert costs[1] > costs[0]


def proposing() -> WorldModel:
    """A world model with a proposal that moves something."""
    model = real()
    model.proposal = Proposal(6, action_dim=2, frame_skip=5, longest=4, width=16)
    for parameter in model.proposal.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("hold", [True, False])
def test_a_proposal_is_saved_with_the_model_and_is_the_plan(hold: bool, tmp_path: Path) -> None:
    model, seen = proposing(), torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    search = Search(Amortised(), horizon=3, hold=hold)
    plan = model.plan(seen[:2], seen[2], search, mean=None if hold else torch.full((2, 3, 10), 0.3))
    now, goal = model.encode(seen[:2, None])[:, 0], model.encode(seen[2:, None])[:, 0]
    with mixed("cpu"), torch.no_grad():
        expected = propose(model.proposal, model.dynamics, now, goal, 3, hold)  # type: ignore[arg-type]
    torch.testing.assert_close(plan.actions, expected.actions[:, 0].float())
    assert plan.actions.abs().max() <= 1 and plan.actions.std() > 0.01
    near = model.plan(seen[:2], seen[2], Search(Hybrid(CEM(32, 4, 3)), horizon=3, hold=hold))
    assert (near.cost <= plan.cost + 0.02 * plan.cost.abs()).all()  # one in bfloat16 as the other, up to rounding
    model.save_pretrained(tmp_path / "model")
    again = WorldModel.from_pretrained(tmp_path)
    torch.testing.assert_close(
        again.plan(seen[:2], seen[2], search).actions, model.plan(seen[:2], seen[2], search).actions
    )


def test_a_plan_without_a_search_reads_each_picture_once_and_imagines_each_block_once() -> None:
    model, seen = proposing(), torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    start, step = model.dynamics.start, model.dynamics.step
    with (
        patch.object(model, "encode", wraps=model.encode) as encode,
        patch.object(model.dynamics, "start", wraps=start) as starts,
        patch.object(model.dynamics, "step", wraps=step) as steps,
    ):
        plan = model.plan(seen[:2], seen[2], Search(Amortised(), horizon=3))
    assert (encode.call_count, starts.call_count, steps.call_count) == (2, 1, 3)
    now = model.encode(seen[:2, None])[:, 0]
    with torch.no_grad():
        judged = model.action_cost(now, seen[2], Search(horizon=3))(plan.actions[:, None])
    torch.testing.assert_close(plan.cost, judged[:, 0], rtol=0.03, atol=1e-3)  # the plan's is in bfloat16


def test_a_lagrangian_around_what_proposes_starts_from_the_proposal() -> None:
    model, seen = proposing(), torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    alone = model.plan(seen[:2], seen[2], Search(Amortised(), horizon=3))
    around = Search(AugmentedLagrangian(Amortised(), rounds=1), horizon=3)
    torch.testing.assert_close(model.plan(seen[:2], seen[2], around).actions, alone.actions)
    assert not AugmentedLagrangian(CEM()).proposes


@pytest.mark.parametrize(("planner", "packs"), [(Amortised(), 0), (CEM(4, 2, 1), 1)])
def test_weights_are_packed_for_a_search_and_not_for_one_candidate(
    planner: Planner, packs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    @contextmanager
    def told() -> Iterator[None]:
        calls.append(1)
        yield

    monkeypatch.setattr("jepa_wm.world_model.packed", told)
    model, seen = proposing(), torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    model.plan(seen[:2], seen[2], Search(planner, horizon=2))
    assert len(calls) == packs


@pytest.mark.parametrize("planner", [CategoricalCEM(8, 2, 1), AugmentedLagrangian(Hybrid(CategoricalCEM(8, 2, 1)))])
def test_one_choice_for_several_actions_is_refused(planner: Planner) -> None:
    with pytest.raises(UserError, match="holds 5 actions here; expected hold true"):
        real().plan(torch.zeros(3, 32, 32, dtype=torch.uint8), "the door", Search(planner, horizon=2, hold=False))


@pytest.mark.parametrize("kind", [CEM, LBFGS])
def test_inference_mode_makes_no_other_plan(kind: type) -> None:
    model, search = real(), Search(CEM(8, 2, 2) if kind is CEM else LBFGS(3, 4), horizon=2)
    seen = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    wanted = model.plan(seen[:2], seen[2], search)
    with torch.inference_mode():
        found = model.plan(seen[:2].clone(), seen[2].clone(), search)
    assert torch.equal(found.actions, wanted.actions) and torch.equal(found.cost, wanted.cost)


def test_slopes_through_a_packed_model_in_bfloat16_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    dynamics = LeWMDynamics(6, depth=2, heads=2, head_dim=8, hidden=32)
    for parameter in dynamics.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model = WorldModel(ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2)), dynamics).eval()
    seen = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    tried = torch.rand(2, 3, 4, 2) - 0.5
    with torch.no_grad():
        cost = model.action_cost(model.latents_of(Observation(seen)), seen.flip(0), Search(horizon=4))
        with mixed("cpu"), packed():
            cost(tried)
            _, found = slopes(Incumbent(cost, tried[:, 0], -torch.ones(2), torch.ones(2)), tried, 3)
        steps = 0.01 * torch.eye(8).view(8, 4, 2)
        wanted = torch.stack([(cost(tried + step) - cost(tried - step)) / 0.02 for step in steps], dim=-1)
    assert (found.flatten(2) - wanted).norm() < 0.05 * wanted.norm()
    assert wanted.abs().max() > 1e-3


def test_the_learned_distance_is_the_blocks_to_go() -> None:
    model, seen = proposing(), torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    goal, future = StepsToGo(Observation(seen[:2])), torch.randn(2, 5, 4, 1, 6)
    found = goal.cost(model, 2, Distance(final=0.5))(Future(future, torch.zeros(2, 5, 4, 2)))
    wanted = model.encode(seen[:2, None])
    for e, s in itertools.product(range(2), range(5)):
        blocks = torch.stack([model.proposal.blocks(latent, wanted[e, 0]) for latent in future[e, s]])  # type: ignore
        torch.testing.assert_close(found[e, s], 0.5 * blocks[-1] + 0.5 * blocks.mean())
    assert torch.equal(goal.of(torch.tensor([False, True])).seen.pixels, seen[1:2])


def test_what_cannot_be_proposed_is_refused(world: WorldModel) -> None:
    seen = images((0.2, 0.9))
    with pytest.raises(UserError, match="Hybrid starts from what the model proposes"):
        world.plan(seen, seen, Search(Hybrid()))
    with pytest.raises(UserError, match="this model has no part `proposal`"):
        world.plan(seen, StepsToGo(Observation(seen)))
    sentences = "the left room", Sentence("the left room", against=["the door"])
    for planner, goal in itertools.product((Amortised(), Hybrid()), sentences):
        with pytest.raises(UserError, match="towards latents, and a Sentence is none; expected an image"):
            proposing().plan(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), goal, Search(planner))
