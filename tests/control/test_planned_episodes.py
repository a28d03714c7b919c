"""Goal sets, played episodes, the receding horizon, and the verb that ties them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from jepa_wm.checkpoint import save_modules
from jepa_wm.contracts import Cost, Dynamics, Generators, Plan
from jepa_wm.control import Controller
from jepa_wm.control.collect import collect
from jepa_wm.control.evaluate import make_world, play
from jepa_wm.control.goals import goal_seed
from jepa_wm.control.match import Match
from jepa_wm.control.misread import misread
from jepa_wm.control.plan import plan
from jepa_wm.control.two_rooms_goals import RegionGoals, RoomGoals
from jepa_wm.data import Episode
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.heads import StateHead
from jepa_wm.encoders import ClipText, GridPool, TextAlignment, ViT
from jepa_wm.encoders.frames import Frames
from jepa_wm.envs import PUSH_T
from jepa_wm.envs.factors import FACTORS
from jepa_wm.envs.geometry import SUCCESS_DISTANCE
from jepa_wm.envs.language import REGIONS
from jepa_wm.envs.policies import NoisyExpert, NoOp
from jepa_wm.errors import UserError
from jepa_wm.goals import Avoid, Sentence
from jepa_wm.manifest import write_manifest
from jepa_wm.planning import CEM
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel
from tests.planners import Answering

ROOM = (0.24771647155284882, 0.26211118698120117), (0.16353601217269897, 0.7890172600746155)
REGION = (0.1501680165529251, 0.11149629950523376), [1, 11, 2, 10, 14, 9, 11, 10, 5, 16], 2


class Scripted(Answering):
    """A planner that answers its call's number in every action, and remembers what it was asked."""

    def __init__(self) -> None:
        self.means: list[Tensor] = []

    def answer(self, cost: Cost, mean: Tensor, generator: Generators) -> Plan:
        self.means.append(mean.clone())
        steps = torch.arange(mean.shape[1])[None, :, None] / 10
        actions = (len(self.means) / 100 + steps).expand_as(mean).clone()
        return Plan(actions, torch.zeros(len(mean)), {})


@pytest.fixture(scope="module")
def model() -> WorldModel:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    return WorldModel(
        encoder, TransformerDynamics(6, trunk=Trunk(12, 1, 2)), TextAlignment(6, ClipText(8, 16, 1, 2))
    ).eval()


class TestController:
    def test_actions_are_held_replanned_and_the_last_plan_shifted(self, model: WorldModel) -> None:
        planner = Scripted()
        pixels = np.zeros((2, 3, 16, 16), np.uint8)
        controller = Controller(model, torch.zeros(2, 3, 16, 16, dtype=torch.uint8), Search(planner, 4, replan=2))
        acted = [controller.act(pixels)[0, 0] for _ in range(20)]
        expected = [0.01] * 5 + [0.11] * 5 + [0.02] * 5 + [0.12] * 5
        assert acted == pytest.approx(expected)
        assert planner.means[0].abs().max() == 0
        assert planner.means[1][0, :, 0].tolist() == pytest.approx([0.21, 0.31, 0.0, 0.0])

    def test_only_active_environments_are_planned_with_their_goals(self, model: WorldModel) -> None:
        planner = Scripted()
        controller = Controller(model, ["the left room", "the right room", "the top"], Search(planner, 3))
        acted = controller.act(np.zeros((3, 3, 16, 16), np.uint8), np.array([True, False, True]))
        assert planner.means[0].shape == (2, 3, 2)
        assert acted[:, 0].tolist() == pytest.approx([0.01, 0.0, 0.01])
        assert controller.goal.of(torch.tensor([False, True, True])) == Sentence(["the right room", "the top"])

    def test_a_horizon_shorter_than_what_is_done_is_refused(self) -> None:
        with pytest.raises(UserError, match="replan 5 and horizon 4"):
            Search(CEM(), horizon=4, replan=5)


class TestGoals:
    def test_the_demo_has_the_goals_it_always_had(self) -> None:
        """Figures of earlier versions are comparable: these were drawn before there were goals of other worlds."""
        factors = {"agent_color": "sample", "agent_size": "sample"}
        rooms, regions = (kind.sample(40, factors, goal_seed(0)) for kind in (RoomGoals, RegionGoals))
        np.testing.assert_allclose(rooms.state[7], ROOM[0], rtol=1e-6)
        np.testing.assert_allclose(rooms.goal[39], ROOM[1], rtol=1e-6)
        np.testing.assert_allclose(regions.state[39], REGION[0], rtol=1e-6)
        assert (regions.regions[:10].tolist(), regions.excluded) == REGION[1:]

    def test_goals_of_two_seeds_have_no_start_in_common(self) -> None:
        first, second = (RoomGoals.sample(60, {}, goal_seed(seed)).state for seed in (0, 1))
        assert not (first[:, None] == second).all(axis=-1).any()

    def test_images_lie_in_the_other_room_and_the_seed_decides(self) -> None:
        goals = RoomGoals.sample(60, {"agent_color": "sample"}, seed=3)
        assert ((goals.state[:, 0] < 0.5) != (goals.goal[:, 0] < 0.5)).all()
        assert not goals.reached(goals.state).any()
        assert goals.to_json() == RoomGoals.sample(60, {"agent_color": "sample"}, seed=3).to_json()
        assert goals.to_json() != RoomGoals.sample(60, {"agent_color": "sample"}, seed=4).to_json()

    def test_starts_inside_the_named_region_are_left_out_and_counted(self) -> None:
        goals = RegionGoals.sample(200, {}, seed=0)
        inside = [bool(REGIONS[r].contains(s)) for r, s in zip(goals.regions, goals.state, strict=True)]
        assert not any(inside)
        # One region of eighteen is drawn at random, so about one start in eighteen lies inside.
        assert 2 <= goals.excluded <= 28
        assert goals.sentences[0] == REGIONS[goals.regions[0]].phrase

    def test_an_image_goal_is_met_within_the_published_distance(self) -> None:
        goals = RoomGoals.sample(2, {}, seed=0)
        near = goals.goal + np.array([[SUCCESS_DISTANCE * 0.99, 0], [0, SUCCESS_DISTANCE * 1.01]], np.float32)
        assert goals.reached(near).tolist() == [True, False]


class TestPlay:
    def test_the_expert_solves_what_standing_still_does_not(self) -> None:
        goals = RoomGoals.sample(12, {}, seed=1)
        world = make_world(goals, 16)
        outcomes = {}
        for name, policy in (("expert", NoisyExpert(0.0)), ("noop", NoOp())):
            act = lambda pixels, active, state, p=policy: p(state, goals.goal, world.factor_values)  # noqa: E731
            outcomes[name] = play(world, goals, act, 60, True, name, films=3)
        expert, noop = outcomes["expert"], outcomes["noop"]
        assert expert.ever.all() and not noop.ever.any() and expert.frames.shape == (3, 61, 3, 16, 16)
        assert (noop.states == noop.states[:, :1]).all()
        for states, reached in zip(expert.states, expert.reached, strict=True):
            first = int(reached.argmax())
            assert (states[first + 1 :] == states[first + 1]).all() and not reached[:first].any()

    @pytest.mark.parametrize("split", ["default", "sample", "held_out"])
    def test_the_expert_stays_in_every_region_that_is_named_and_is_there_at_the_last_step(self, split: str) -> None:
        goals = RegionGoals.sample(150, dict.fromkeys(FACTORS, split), seed=2)
        match = Match(goals, 8, steps=100)
        outcomes = {name: match.scripted(name, policy) for name, policy in goals.policies(0).items()}
        assert outcomes["expert"].last.all() and outcomes["random"].last.mean() < 0.2
        assert set(goals.regions) == set(range(18))


class TestForbiddenGoals:
    def test_those_that_the_model_misreads_are_left_out_named_and_counted(
        self, model: WorldModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        head = StateHead(6, state_dim=2, width=8)
        torch.nn.init.normal_(head.read[-1].weight)
        reading = WorldModel(model.encoder, model.dynamics, heads={"state": head}).eval()
        goals = RoomGoals.sample(7, {}, 3)
        with torch.no_grad():
            x = head(reading.latents_of(goals.wanted(make_world(goals, 16)).seen))[:, 0]  # type: ignore[attr-defined]
        order = x.argsort()
        between = ((x[order[1]] + x[order[2]]) / 2).item()
        wrong = sorted(order[:2].tolist())
        search = Search(CEM(4, 2, 1), horizon=2, constraints=[Avoid([-math.inf], [between], columns=[0])])
        for parallel in (None, 3):
            found = Match(goals, 16, 4, parallel=parallel).allowed(reading, search).goals
            assert f"forbids 2 of 7 image goals, left out: {wrong}" in capsys.readouterr().out
            kept = [i for i in range(7) if i not in wrong]
            np.testing.assert_array_equal(found.goal, goals.goal[kept])
            assert found.excluded == goals.excluded + 2
        nowhere = replace(search, constraints=[Avoid([-math.inf], [x.max().item() + 1], columns=[0])])
        match = Match(goals, 16, 4)
        assert match.allowed(reading, nowhere) is match and match.allowed(reading, Search()) is match


class TestMisread:
    def test_it_is_the_error_of_the_column_that_is_off_farthest(self) -> None:
        """Latents are states; each block adds its actions, and what is read is 0.3 too much in the second number."""
        random = np.random.default_rng(0)
        actions = random.uniform(-1, 1, (20, 2)).astype(np.float32)
        bias = np.zeros((21, 2), np.float32)
        bias[5::5, 1] = 0.1 * np.arange(1, 5)
        state = np.concatenate([np.zeros((1, 2), np.float32), actions.cumsum(axis=0)])
        frames = np.zeros((21, 3, 8, 8), np.uint8)
        episode = Episode(frames, actions, state + bias, np.zeros(20, np.float32), [""] * 21, {}, "a")
        head = StateHead(2, state_dim=2)
        head.read = nn.Flatten(-2)  # type: ignore[assignment]
        model = WorldModel(Nothing(), Adding(), frames=Felt(), heads={"state": head})  # type: ignore[arg-type]
        # A block of the truth goes 0.1 farther than its actions say, two go 0.2 farther.
        for blocks in (1, 2):
            assert misread(model, [episode], blocks, 1.0) == pytest.approx(0.1 * blocks, abs=1e-5)
            assert misread(model, [episode], blocks, 0.5, columns=[0]) == pytest.approx(0, abs=1e-5)
        with pytest.raises(UserError, match="no episode is 5 blocks"):
            misread(model, [episode], 5)
        with pytest.raises(UserError, match="quantile 0"):
            misread(model, [episode], 1, 0)

    def test_actions_beyond_the_bounds_count_as_the_environment_does_them(self) -> None:
        actions = np.random.default_rng(0).uniform(-3, 3, (20, 2)).astype(np.float32)
        done = np.clip(actions, -1, 1).cumsum(axis=0)
        state = np.concatenate([np.zeros((1, 2), np.float32), done])
        frames = np.zeros((21, 3, 8, 8), np.uint8)
        episode = Episode(frames, actions, state, np.zeros(20, np.float32), [""] * 21, {}, "a")
        head = StateHead(2, state_dim=2)
        head.read = nn.Flatten(-2)  # type: ignore[assignment]
        model = WorldModel(Nothing(), Adding(), frames=Felt(), heads={"state": head})  # type: ignore[arg-type]
        assert misread(model, [episode], 1, 1.0) == pytest.approx(0, abs=1e-5)


class Felt(Frames):
    """Latents that are the state itself."""

    state_dim = 2

    def latent_dim(self, encoder: nn.Module) -> int:
        return 2

    def forward(self, encoder: nn.Module, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        assert state is not None
        return state[:, :, None]


class Nothing(nn.Module):
    """An encoder that nobody asks."""


class Adding(Dynamics):
    """Latents to which a block's actions are added."""

    latent_dim, action_dim, frame_skip = 2, 2, 5

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def start(self, latents: Tensor, actions: Tensor) -> Tensor:
        return latents[:, -1]

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        return state + action.unflatten(-1, (5, 2)).sum(dim=-2)[:, None]

    def latent(self, state: Tensor) -> Tensor:
        return state


@pytest.fixture(scope="module")
def folders(model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("verb")
    collect(str(root / "data"), episodes=4, steps=3, size=16)
    parts = {"encoder": model.encoder, "dynamics": model.dynamics, "text": model.text}
    save_modules(root / "forecast" / "model", parts)  # type: ignore[arg-type]
    write_manifest(root / "forecast", "forecast")
    return str(root / "forecast"), str(root / "data")


class TestVerb:
    def run(self, folders: tuple[str, str], out: Path) -> list[dict]:
        plan(*folders, str(out), Search(CEM(8, 2, 1), horizon=2), episodes=4, text_episodes=3, steps=12, films=2)
        return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]

    def test_it_writes_rates_goals_and_films_that_the_seed_decides(
        self, folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows, again = self.run(folders, tmp_path / "a"), self.run(folders, tmp_path / "b")
        found = [(row["goal"], row["policy"], row["episodes"]) for row in rows]
        assert found == [
            *[("image", policy, 4) for policy in ("noop", "random", "expert", "cem")],
            *[("text", policy, 3) for policy in ("noop", "random", "expert", "cem")],
        ]
        for row, other in zip(rows, again, strict=True):
            assert row["ci95"][0] <= row["success"] <= row["ci95"][1]
            assert row["success"] == other["success"] and row["success_last"] == other["success_last"]
        index = json.loads((tmp_path / "a" / "films" / "index.json").read_text())
        assert [film["file"] for film in index] == [f"{kind}-0{i}.webp" for kind in ("image", "text") for i in (0, 1)]
        traces = json.loads((tmp_path / "a" / "plan.json").read_text())
        for kind, count in (("image", 4), ("text", 3)):
            assert traces[kind]["evaluations"] == [8] and traces[kind]["nan"] == [[0] * count]
            assert np.shape(traces[kind]["cost"]) == np.shape(traces[kind]["spread"]) == (1, count)
        with Image.open(tmp_path / "a" / "films" / "image-00.webp") as film:
            assert film.size == ((16 + 3 + 16 + 3 + 16) * 3, 16 * 3)
        assert {film["imagined"] for film in index} == {"nearest"}
        self.run(folders, tmp_path / "a")
        assert "complete already" in capsys.readouterr().out
        with pytest.raises(UserError, match=r"made with other settings: .*steps=12; got episodes=200, .*steps=100"):
            plan(*folders, str(tmp_path / "a"), Search(CEM(8, 2, 1), horizon=2), text_episodes=3, films=2)
        # Another model may have come to lie at the same path.
        write_manifest(folders[0], "forecast", seconds=7.0)
        with pytest.raises(UserError, match=r"was there before as model=.*made anew since"):
            self.run(folders, tmp_path / "a")

    def test_a_saved_model_plays_as_the_run_that_it_is_of(self, folders: tuple[str, str], tmp_path: Path) -> None:
        WorldModel.from_pretrained(folders[0]).save_pretrained(tmp_path / "saved")
        rows = self.run((str(tmp_path / "saved"), folders[1]), tmp_path / "a")
        of_the_run = self.run(folders, tmp_path / "b")
        told = [[(row["policy"], row["success"]) for row in each] for each in (rows, of_the_run)]
        assert told[0] == told[1] and len(rows) == 8
        with pytest.raises(UserError, match="nowhere"):
            self.run((str(tmp_path / "nowhere"), folders[1]), tmp_path / "c")
        assert not (tmp_path / "c").exists()

    def test_a_run_of_another_stage_is_refused_before_anything_is_written(
        self, folders: tuple[str, str], tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match="stage 'collect'; expected forecast"):
            self.run((folders[1], folders[1]), tmp_path / "a")
        assert not (tmp_path / "a").exists()

    def test_worlds_and_kinds_of_goals_that_are_not_known_are_refused(
        self, folders: tuple[str, str], tmp_path: Path
    ) -> None:
        for environment, said in (
            ("Else-v0", "'Else-v0' cannot be made"),
            (PUSH_T, "no sentences as goals; got"),
        ):
            config = {"environment": environment, "size": 16, "factors": None}
            write_manifest(tmp_path / environment, "collect", config=config)
            with pytest.raises(UserError, match=said):
                self.run((folders[0], str(tmp_path / environment)), tmp_path / "a")
        assert not (tmp_path / "a").exists()

    def test_goals_of_an_earlier_run_are_played_again(self, folders: tuple[str, str], tmp_path: Path) -> None:
        before = self.run(folders, tmp_path / "a")
        search = Search(CEM(8, 2, 1), horizon=2)
        plan(*folders, str(tmp_path / "b"), search, 4, 3, 12, seed=7, films=0, goals=str(tmp_path / "a"))
        after = [json.loads(line) for line in (tmp_path / "b" / "results.jsonl").read_text().splitlines()]
        for name in ("goals-image.json", "goals-text.json"):
            assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
        fixed = [(kind, policy) for kind in ("image", "text") for policy in ("noop", "expert")]
        for kind in fixed:
            old, new = (next(r for r in rows if (r["goal"], r["policy"]) == kind) for rows in (before, after))
            assert old == new
        with pytest.raises(UserError, match="4 of 4 starts do not satisfy their goals already; expected 5"):
            plan(*folders, str(tmp_path / "e"), search, 5, 0, 12, goals=str(tmp_path / "a"))
        with pytest.raises(UserError, match=r"goals-image.json is missing; expected a folder"):
            plan(*folders, str(tmp_path / "c"), search, goals=str(tmp_path))
        (tmp_path / "goals-image.json").write_text('{"environment": "jepa_wm/PushT-v0"}')
        with pytest.raises(UserError, match="is of jepa_wm/PushT-v0; expected jepa_wm/TwoRooms-v0"):
            plan(*folders, str(tmp_path / "d"), search, goals=str(tmp_path))
