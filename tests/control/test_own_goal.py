"""A goal of a user's own: read, refused or played, whatever the environment is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image as Picture

from jepa_wm.checkpoint import save_modules
from jepa_wm.cli import main
from jepa_wm.control.collect import collect
from jepa_wm.control.goals import Task, goal_seed
from jepa_wm.control.own_goal import read_goal, region_of_goal
from jepa_wm.control.plan import plan
from jepa_wm.control.pursue import Place, Played, _told
from jepa_wm.control.shown import Shown
from jepa_wm.data.verbs.merge import merge
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.encoders import ClipText, GridPool, PooledFrames, StateFrames, TextAlignment, ViT
from jepa_wm.envs import PUSH_T, REGIONS, TWO_ROOMS
from jepa_wm.envs.factors import COLORS
from jepa_wm.errors import UserError
from jepa_wm.goals import Sentence
from jepa_wm.manifest import read_manifest, write_manifest
from jepa_wm.planning import CEM, CategoricalCEM
from jepa_wm.search import Search

CORNER = "the top left corner of the right room"
SEARCH = Search(CEM(8, 2, 1), horizon=2)
FACTORS = {"agent_color": "sample"}


class Lamp(gymnasium.Env):
    """Shows one colour, brighter at each step, and ends by itself after four."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = spaces.Box(0, 9, (1,))
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action in self.action_space
        self.count += 1
        return np.full(1, self.count, np.float32), 0.0, self.count == 4, False, {}

    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.full((20, 30, 3), 50 * self.count, np.uint8)


gymnasium.register("tests/Lamp-v0", entry_point=Lamp)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A run of forecast and the shards that it learned from."""
    root = tmp_path_factory.mktemp("own")
    collect(str(root / "data"), episodes=4, steps=3, size=16, factors=FACTORS)
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    dynamics = TransformerDynamics(6, trunk=Trunk(12, 1, 2))
    for parameter in dynamics.parameters():
        parameter.data = 0.2 * torch.randn_like(parameter)
    parts = {"encoder": encoder, "dynamics": dynamics}
    for name, more in (("forecast", {"text": TextAlignment(6, ClipText(8, 16, 1, 2))}), ("mute", {})):
        save_modules(root / name / "model", parts | more)
        write_manifest(root / name, "forecast", data={str(root / "data"): {"environment": TWO_ROOMS}})
    return str(root / "forecast"), str(root / "data")


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "goal.png"
    Picture.fromarray(np.random.default_rng(0).integers(0, 255, (30, 50, 3), np.uint8)).save(path)
    return str(path)


def pursued(folders: tuple[str, str], out: Path, goal: str, **others: Any) -> list[dict]:
    plan(*folders, str(out), **{"search": SEARCH, "steps": 6, "films": 2, "goal": goal} | others)
    return [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()]


class TestReading:
    @pytest.mark.parametrize("told", [CORNER, "The disc is in the  TOP left corner of the right room"])
    def test_a_sentence_that_names_a_region_is_told_from_the_others(self, told: str) -> None:
        named = region_of_goal(told, TWO_ROOMS)
        assert named is not None and named.phrase == CORNER
        goal = read_goal(told, TWO_ROOMS)
        assert isinstance(goal, Sentence) and goal.sentences == told
        assert len(goal.against) == len(REGIONS) - 1 and CORNER not in goal.against

    @pytest.mark.parametrize(
        ("told", "environment"),
        [
            ("the top left corner", TWO_ROOMS),
            (f"{CORNER} or {REGIONS[0].phrase}", TWO_ROOMS),
            (CORNER, "tests/Lamp-v0"),
            ("left.", TWO_ROOMS),
            ("left or 1/2 way", TWO_ROOMS),
            (400 * "far away ", TWO_ROOMS),
        ],
    )
    def test_other_sentences_are_as_they_are(self, told: str, environment: str) -> None:
        assert read_goal(told, environment) == told and region_of_goal(told, environment) is None

    def test_a_picture_is_read_whatever_it_is_called(self, picture: str, tmp_path: Path) -> None:
        pixels = np.asarray(Picture.open(picture))
        other = tmp_path / "a picture"
        other.write_bytes(Path(picture).read_bytes())
        for path in (picture, str(other)):
            np.testing.assert_array_equal(read_goal(path, TWO_ROOMS), pixels)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("told", "said"),
        [
            ("", "got an empty goal"),
            ("nowhere.png", "nowhere.png is not there"),
            ("my goal.JPG", "my goal.JPG is not there"),
            ("pictures/goal", "pictures/goal is not there"),
            ("goal.gif", "goal.gif is not there"),
        ],
    )
    def test_what_is_neither_sentence_nor_picture_is_refused(self, told: str, said: str) -> None:
        with pytest.raises(UserError, match=said):
            read_goal(told, TWO_ROOMS)

    def test_a_folder_and_a_file_of_something_else_are_refused(self, picture: str, tmp_path: Path) -> None:
        Path(picture).write_bytes(Path(picture).read_bytes()[:60])
        (tmp_path / "notes.txt").write_text("here")
        for path, said in (
            (picture, "goal.png cannot be read"),
            (str(tmp_path / "notes.txt"), "neither JPEG nor PNG"),
            (str(tmp_path), "is a folder; .*--goals"),
        ):
            with pytest.raises(UserError, match=said):
                read_goal(path, TWO_ROOMS)


class TestPlaying:
    def test_a_sentence_is_played_filmed_and_told(
        self, folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = pursued(folders, tmp_path / "a", CORNER)
        assert [row["seed"] for row in rows] == [goal_seed(0), goal_seed(0) + 1]
        assert {row["steps"] for row in rows} == {6} and all(row["cost_first"] != row["cost_last"] for row in rows)
        with Picture.open(tmp_path / "a" / rows[1]["film"]) as film:
            assert film.size == ((16 + 3 + 16) * 3, 16 * 3) and film.n_frames > 1  # type: ignore[attr-defined]
        assert {row["imagined"] for row in rows} == {"nearest"}
        manifest = read_manifest(tmp_path / "a", "plan --goal")
        assert manifest["config"]["goal"] == CORNER and manifest["config"]["factors"] == FACTORS
        assert f"not in {CORNER} at the end" in capsys.readouterr().out
        assert rows == pursued(folders, tmp_path / "b", CORNER)
        # An episode is the same, however many there are.
        assert rows[:1] == pursued(folders, tmp_path / "c", CORNER, films=1)
        assert rows[0] != pursued(folders, tmp_path / "d", CORNER, films=1, seed=1)[0]
        capsys.readouterr()
        pursued(folders, tmp_path / "a", CORNER)
        assert "complete already" in capsys.readouterr().out
        with pytest.raises(UserError, match="made with other settings: steps=6"):
            pursued(folders, tmp_path / "a", CORNER, steps=7)

    def test_only_a_region_that_is_named_is_said_to_be_reached(self, folders: tuple[str, str], tmp_path: Path) -> None:
        there = {}
        for number, region in enumerate(REGIONS):
            (row,) = pursued(folders, tmp_path / str(number), region.phrase, steps=1, films=1)
            there[region.phrase] = row["there_first"], row["there_last"]
        state = Shown(TWO_ROOMS, 16, {"size": 16, "factors": FACTORS})
        observation, _ = state.world.reset(seed=goal_seed(0))
        (start,) = (region for region in REGIONS if region.contains(state.state(observation)))
        assert [phrase for phrase, (first, _) in there.items() if first] == [start.phrase]
        assert sum(last for _, last in there.values()) == 1
        (row,) = pursued(folders, tmp_path / "unnamed", "somewhere", films=1)
        assert row["there_first"] is row["there_last"] is None

    def test_a_row_says_where_an_episode_began_and_ended(self) -> None:
        states, frames = np.array([[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]], np.float32), np.zeros((3, 3, 8, 8), np.uint8)
        played = Played(frames, states, np.array([4.0, 3.0]), None)
        top, bottom = (_told(played, region) for region in (REGIONS[0], REGIONS[-1]))
        assert (top["there_first"], top["there_last"]) == (True, False)
        assert (bottom["there_first"], bottom["there_last"]) == (False, True)
        assert (top["steps"], top["cost_first"], top["cost_last"]) == (2, 4.0, 3.0)

    def test_worlds_have_the_factors_of_the_shards(self) -> None:
        worlds = (Place(TWO_ROOMS, 16, factors).open().world for factors in (FACTORS, None))
        colours = [{tuple(world.reset(seed=i)[1]["factors"]["agent_color"]) for i in range(9)} for world in worlds]
        assert len(colours[0]) > 1 == len(colours[1])

    def test_a_picture_is_fitted_and_shown_beside(self, folders: tuple[str, str], picture: str, tmp_path: Path) -> None:
        rows = pursued(folders, tmp_path / "a", picture)
        assert {(row["there_first"], row["there_last"]) for row in rows} == {(None, None)}
        with Picture.open(tmp_path / "a" / rows[0]["film"]) as film:
            assert film.size == ((16 + 3 + 16 + 3 + 16) * 3, 16 * 3)

    def test_another_picture_at_the_same_path_is_another_goal(
        self, folders: tuple[str, str], picture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, out = pursued(folders, tmp_path / "a", picture), str(tmp_path / "a")
        assert "complete already" not in capsys.readouterr().out
        assert pursued(folders, tmp_path / "a", picture) == first
        assert "complete already" in capsys.readouterr().out
        Picture.fromarray(255 - np.asarray(Picture.open(picture))).save(picture)
        with pytest.raises(UserError, match=f"{out} was made with other settings: picture="):
            pursued(folders, tmp_path / "a", picture)

    def test_factors_that_are_asked_for_stand_in_place_of_those_of_the_shards(
        self, folders: tuple[str, str], tmp_path: Path
    ) -> None:
        factors = {"agent_color": "cyan", "agent_size": 0.06}
        pursued(folders, tmp_path / "a", CORNER, films=1, task=Task(factors=factors))
        assert read_manifest(tmp_path / "a")["config"]["factors"] == factors
        with Picture.open(tmp_path / "a" / "films" / "episode-00.webp") as film:
            shown = np.asarray(film.convert("RGB")).reshape(-1, 3).astype(int)
        cyan = np.array(COLORS["cyan"])
        assert (np.abs(shown - cyan).sum(axis=1) < 60).any()

    def test_a_goal_of_its_own_that_a_world_meets_ends_nothing(
        self, folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "jepa_wm.envs.vector.TwoRoomsVectorEnv.measure",
            lambda self, states, goals: {"distance": np.zeros(1), "success": np.ones(1, bool)},
        )
        assert pursued(folders, tmp_path / "a", CORNER, films=1)[0]["steps"] == 6

    def test_any_environment_with_such_actions_until_it_ends(self, folders: tuple[str, str], tmp_path: Path) -> None:
        (row,) = pursued(folders, tmp_path / "a", "bright", films=1, environment="tests/Lamp-v0")
        # The shards are of another world, and their frames show nothing of this one.
        assert row["steps"] == 4 and row["there_last"] is row["imagined"] is None
        with Picture.open(tmp_path / "a" / row["film"]) as film:
            shown = []
            for number in range(film.n_frames):  # type: ignore[attr-defined]
                film.seek(number)
                shown.append(film.convert("RGB").getpixel((8, 8)))
        assert shown == [(50 * i,) * 3 for i in range(5)]

    def test_choices_are_searched_among_choices(self, folders: tuple[str, str], tmp_path: Path) -> None:
        encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
        bounds = ActionBounds(2, 5)
        bounds.low.zero_()
        parts = {"encoder": encoder, "dynamics": TransformerDynamics(6, trunk=Trunk(12, 1, 2)), "bounds": bounds}
        save_modules(tmp_path / "run" / "model", parts | {"text": TextAlignment(6, ClipText(8, 16, 1, 2))})
        write_manifest(tmp_path / "run", "forecast", data={})
        model, others = (str(tmp_path / "run"), folders[1]), {"environment": "CartPole-v1", "films": 1, "steps": 2}
        with pytest.raises(UserError, match=r"got CEM, .* actions Discrete\(2\).*planning\.CategoricalCEM"):
            pursued(model, tmp_path / "a", "up", **others)
        assert not (tmp_path / "a").exists()
        others["search"] = Search(CategoricalCEM(8, 2, 1), horizon=2)
        assert pursued(model, tmp_path / "a", "up", **others)[0]["steps"] == 2

    def test_shards_that_are_not_there_are_those_that_the_model_learned_from(
        self, folders: tuple[str, str], tmp_path: Path
    ) -> None:
        rows = pursued((folders[0], str(tmp_path / "nowhere")), tmp_path / "a", CORNER)
        assert rows == pursued(folders, tmp_path / "b", CORNER)
        with pytest.raises(UserError, match="no shards are known that owner/name learned from; expected --data"):
            pursued(("owner/name", str(tmp_path / "nowhere")), tmp_path / "c", CORNER)

    def test_shards_that_say_their_world_need_not_be_those_of_collect(
        self, folders: tuple[str, str], tmp_path: Path
    ) -> None:
        merged, run = tmp_path / "merged", tmp_path / "run"
        merge([folders[1], folders[1]], str(merged))
        shutil.copytree(Path(folders[0]) / "model", run / "model")
        write_manifest(run, "forecast", data={str(merged): {"environment": TWO_ROOMS}})
        rows = pursued((str(run), str(tmp_path / "nowhere")), tmp_path / "a", CORNER)
        assert rows == pursued((str(run), str(merged)), tmp_path / "b", CORNER)


class TestRefusing:
    @pytest.mark.parametrize(
        ("others", "said"),
        [
            ({"goals": "runs/earlier"}, "got a goal of one's own, .* and goals of an earlier run"),
            ({"goal": None, "environment": "CartPole-v1"}, "got environment CartPole-v1 without a goal"),
            ({"environment": "CartPole-v1"}, r"actions Discrete\(2\); expected 2 numbers"),
            ({"environment": "Nowhere-v0"}, "'Nowhere-v0' cannot be made"),
            (
                {"check": 5, "parallel": 2},
                "got check 5, parallel 2 with a goal .*; expected check 1, parallel N",
            ),
            ({"task": Task(least_steps=3)}, "got task.least_steps 3 with a goal of one's own; expected .* 0"),
            ({"task": Task(factors=FACTORS), "environment": "CartPole-v1"}, "task.factors .* in CartPole-v1"),
            ({"films": 0}, "films 0"),
            ({"steps": 0}, "steps 0"),
            ({"seed": -1}, "seed -1"),
        ],
    )
    def test_what_does_not_fit_leaves_nothing_behind(
        self, folders: tuple[str, str], tmp_path: Path, others: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(UserError, match=said):
            pursued(folders, tmp_path / "a", **{"goal": CORNER} | others)
        assert list(tmp_path.iterdir()) == []

    def test_sentences_need_a_model_that_knows_them(
        self, folders: tuple[str, str], picture: str, tmp_path: Path
    ) -> None:
        mute = str(Path(folders[0]).with_name("mute")), folders[1]
        with pytest.raises(UserError, match="this model has no text alignment"):
            pursued(mute, tmp_path / "a", CORNER)
        assert not (tmp_path / "a").exists()
        assert len(pursued(mute, tmp_path / "a", picture)) == 2

    def test_a_picture_is_no_goal_of_a_model_that_reads_states(
        self, folders: tuple[str, str], picture: str, tmp_path: Path
    ) -> None:
        feeling = Path(folders[0]).with_name("feeling")
        frames = StateFrames(PooledFrames(), 2, 2)
        encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
        dynamics = TransformerDynamics(frames.latent_dim(encoder), (1, 1), trunk=Trunk(12, 1, 2))
        save_modules(feeling / "model", {"encoder": encoder, "frames": frames, "dynamics": dynamics})
        write_manifest(feeling, "forecast", data={})
        with pytest.raises(UserError, match=r"reads the state, 2 numbers, .* no picture shows that"):
            pursued((str(feeling), folders[1]), tmp_path / "a", picture)
        assert not (tmp_path / "a").exists()

    def test_what_others_made_is_left_as_it_is(self, folders: tuple[str, str], tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").write_text("all of it")
        for out, said in ((tmp_path / "mine", "was not made by this"), (Path(folders[1]), "stage 'collect'")):
            with pytest.raises(UserError, match=said):
                pursued(folders, out, CORNER)
        assert (tmp_path / "mine" / "thesis.tex").read_text() == "all of it"


def test_the_command_line_takes_a_sentence(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Callable[..., int] = lambda *more: main(  # noqa: E731
        ["plan", f"--model={folders[0]}", f"--out={tmp_path / 'a'}", "--steps=2", "--films=1", *more]
    )
    assert run("--goal", "red: the left room", "--search.planner.init_args={samples: 8, elites: 2}") == 0
    assert "episode-00.webp: 2 steps" in capsys.readouterr().out
    assert "red: the left room" in (tmp_path / "a" / "report.html").read_text()
    assert run("--goals", "the left room", f"--data={folders[1]}", f"--out={tmp_path / 'b'}") == 2
    assert "a sentence or a picture is given by --goal" in capsys.readouterr().err


@pytest.mark.parametrize("environment", [TWO_ROOMS, PUSH_T])
def test_a_world_of_ours_is_shown_as_it_observes_itself(environment: str) -> None:
    if environment == PUSH_T:
        pytest.importorskip("pymunk", reason="Push-T needs pymunk: pip install 'jepa_wm[pusht]'")
    shown = Shown(environment, 24, {"size": 24})
    observation, _ = shown.world.reset(seed=0)
    np.testing.assert_array_equal(shown.frame(observation), observation["pixels"])
    np.testing.assert_array_equal(shown.state(observation), observation["state"])
