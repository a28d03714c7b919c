"""Goals that were recorded, far goals, other factors; how episodes are looked at, ended and batched; runs compared."""

import dataclasses
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from jepa_wm.checkpoint import save_modules
from jepa_wm.control.changed_factors import change_factors
from jepa_wm.control.collect import collect
from jepa_wm.control.compare import compare
from jepa_wm.control.evaluate import Outcome, make_world, play
from jepa_wm.control.goal_kinds import draw_goals
from jepa_wm.control.goals import Task
from jepa_wm.control.match import Match
from jepa_wm.control.paired import sign_flip_test
from jepa_wm.control.plan import plan
from jepa_wm.control.two_rooms_goals import RecordedRooms, RegionGoals, RoomGoals
from jepa_wm.dynamics import MLPDynamics, TransformerDynamics, Trunk
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.factors import COLORS
from jepa_wm.envs.policies import NoisyExpert
from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.goals import Avoid, Uncertainty
from jepa_wm.manifest import write_manifest
from jepa_wm.paths import find_config
from jepa_wm.planning import CEM, Amortised, CategoricalCEM
from jepa_wm.search import Search

SLOW = {"agent_speed": 0.02, "door_position": 0.2}
SEARCH = Search(CEM(8, 2, 2), horizon=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model that has learned nothing, and episodes."""
    root = tmp_path_factory.mktemp("protocols")
    collect(str(root / "data"), episodes=12, steps=14, size=16, held_out=0.8, seed=3)
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    parts = {"encoder": encoder, "dynamics": TransformerDynamics(6, trunk=Trunk(12, 1, 2))}
    parts["proposal"] = Proposal(6, action_dim=2, frame_skip=5, longest=4, width=16)
    save_modules(root / "forecast" / "model", parts)
    write_manifest(root / "forecast", "forecast")
    return str(root / "forecast"), str(root / "data")


def rows_of(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def expert_steps(goals: RoomGoals, most: int) -> np.ndarray:
    world, expert = make_world(goals, 8), NoisyExpert()
    act = lambda pixels, active, state: expert(state, goals.goal, world.factor_values)  # noqa: E731
    return play(world, goals, act, most, True, "").first


class TestTasks:
    def test_far_goals_are_those_that_the_expert_needs_as_long_for(self) -> None:
        goals = RoomGoals.sample(12, SLOW, 0, Task(least_steps=45))
        taken = expert_steps(goals, 120)
        assert len(taken) == 12 and taken.min() >= 45
        # One step more, and those that took exactly so many are out; the others stay, in their order.
        least = int(taken.min()) + 1
        further = RoomGoals.sample(12, SLOW, 0, Task(least_steps=least)).identities
        kept = [name for name, steps in zip(goals.identities, taken, strict=True) if steps >= least]
        assert further[: len(kept)] == kept and not set(further) & (set(goals.identities) - set(kept))
        with pytest.raises(UserError, match="are 400 or more steps away; expected 2"):
            RoomGoals.sample(2, SLOW, 0, Task(least_steps=400))
        with pytest.raises(UserError, match="can be asked to be far"):
            draw_goals(TWO_ROOMS, "image", "", 2, 0, Task(ahead=5, least_steps=4))
        with pytest.raises(UserError, match="got ahead 0"):
            Task(ahead=0)

    def test_recorded_goals_of_the_two_rooms_are_replayed_to_the_bit(self, folders: tuple[str, str]) -> None:
        goals = draw_goals(TWO_ROOMS, "image", folders[1], 6, 1, Task(ahead=9))
        assert isinstance(goals, RecordedRooms) and goals.actions.shape == (6, 9, 2)
        world, replay = make_world(goals, 8), goals.policies(0)["replay"]
        act = lambda pixels, active, state: replay(state, goals.goal, world.factor_values)  # noqa: E731
        np.testing.assert_array_equal(play(world, goals, act, 9, False, "").states[:, 9], goals.goal)
        assert (np.linalg.norm(goals.state - goals.goal, axis=1) >= 16 / 224).all()
        assert goals.sources.tolist() == goals.episode.tolist()

    def test_other_factors_keep_starts_and_goals_that_can_be(self) -> None:
        plain = RoomGoals.sample(60, {"agent_size": "sample"}, 5)
        looks = RoomGoals.sample(60, {"agent_size": "sample"}, 5, Task(factors={"agent_color": "held_out"}))
        assert looks.identities == plain.identities and looks.identity != plain.identity
        np.testing.assert_array_equal(looks.factors["agent_size"], plain.factors["agent_size"])
        assert {tuple(color) for color in looks.factors["agent_color"].tolist()} == {COLORS["cyan"], COLORS["pink"]}
        wide = RoomGoals.sample(60, {"agent_size": "sample"}, 5, Task(factors={"agent_size": "held_out"}))
        assert (wide.factors["agent_size"] >= 0.065).all() and wide.excluded > 0
        # Left out are those that a wider disc cannot be at, and no others; each draws what it drew in a larger set.
        fewer = RoomGoals.sample(10, {"agent_size": "sample"}, 5, Task(factors={"agent_size": "held_out"}))
        assert wide.identities[:10] == fewer.identities
        make_world(wide, 8)
        again = plain.open(20, {"agent_size": "held_out"}, 5)
        shared = [name for name in plain.identities if name in set(wide.identities)]
        assert again.identities == shared[:20]
        with pytest.raises(UserError, match="unknown factor 'smell'"):
            plain.open(5, {"smell": "held_out"})

    def test_what_an_episode_draws_does_not_depend_on_the_others(self) -> None:
        options = RoomGoals.sample(12, {}, 5).reset_options()
        factors = {"floor_color_left": "sample"}
        _, every = change_factors(TWO_ROOMS, options, factors, np.arange(12), 12, 9)
        _, some = change_factors(TWO_ROOMS, options, factors, np.array([3, 7, 8]), 3, 9)
        np.testing.assert_array_equal(some["floor_color_left"], every["floor_color_left"][[3, 7, 8]])
        assert len(np.unique(every["floor_color_left"], axis=0)) > 3


def test_what_ends_with_its_goal_counts_at_any_step_and_what_does_not_at_the_last() -> None:
    reached = np.array([[False, True, False], [False, True, True], [False, False, False]])
    outcome = Outcome(np.zeros((3, 4, 2)), reached, np.zeros(3), np.zeros((0, 4)))
    assert outcome.solved(ends=True).tolist() == [True, True, False]
    assert outcome.solved(ends=False).tolist() == [False, True, False]
    assert outcome.first.tolist() == [2, 2, 0]


class TestPlay:
    def drift(self, check: int, stop: bool) -> list[list[bool]]:
        """Two discs that cross a goal, which they are at after steps 3 to 7, and one that does not get there."""
        drawn = RoomGoals.sample(3, {}, 0)
        state = np.array([[0.1, 0.2], [0.1, 0.5], [0.1, 0.8]], np.float32)
        goal = state + np.array([[0.15, 0], [0.15, 0], [0, 0.1]], np.float32)
        goals = RoomGoals(state, goal, drawn.factors, 0)
        act = lambda pixels, active, state: np.tile(np.array([[1, 0]], np.float32), (3, 1))  # noqa: E731
        outcome = play(make_world(goals, 8), goals, act, 9, stop, "", check=check)
        assert outcome.first.tolist() == [int(row.argmax()) + 1 if row.any() else 0 for row in outcome.reached]
        assert outcome.seconds.shape == (3,) and (outcome.seconds > 0).all()
        return outcome.reached.tolist()

    def test_goals_are_looked_at_as_often_as_asked_and_at_the_end(self) -> None:
        crossed = [step in (3, 4, 5, 6, 7) for step in range(1, 10)]
        assert self.drift(1, False) == [crossed, crossed, [False] * 9]
        assert self.drift(1, True)[:2] == [[step >= 3 for step in range(1, 10)]] * 2
        assert self.drift(4, False)[0] == [step == 4 for step in range(1, 10)]
        assert self.drift(4, True)[0] == [step >= 4 for step in range(1, 10)]
        assert self.drift(8, True)[0] == self.drift(9, True)[0] == [False] * 9


class TestVerbs:
    def play(self, folders: tuple[str, str], out: Path, **options: object) -> Path:
        plan(
            *folders,
            str(out),
            **{"search": SEARCH, "episodes": 7, "text_episodes": 0, "steps": 9, "films": 2, **options},
        )
        return out

    def test_what_is_played_at_once_changes_no_episode(self, folders: tuple[str, str], tmp_path: Path) -> None:
        together = self.play(folders, tmp_path / "a")
        apart = self.play(folders, tmp_path / "b", parallel=3)
        for name in ("episodes.jsonl", "results.jsonl"):
            rows, others = (rows_of(folder, name) for folder in (together, apart))
            for row in rows + others:
                for name in ("seconds", "seconds_per_plan", "seconds_each"):
                    row.pop(name, None)
            assert rows == others
        films = [sorted(path.name for path in (folder / "films").iterdir()) for folder in (together, apart)]
        assert films == [["image-00.webp", "image-01.webp", "index.json"]] * 2

    def test_rates_are_those_of_the_episodes(
        self, folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stopped = self.play(folders, tmp_path / "a", task=Task(ahead=4))
        assert "last step" not in capsys.readouterr().out
        free = self.play(folders, tmp_path / "b", stop=False, goals=str(stopped))
        said = re.findall(r"of 7, at the last step (.*)%", capsys.readouterr().out)
        assert said == [f"{row['success_last']:.1%}"[:-1] for row in rows_of(free, "results.jsonl")]
        for folder in (stopped, free):
            episodes = rows_of(folder, "episodes.jsonl")
            for row in rows_of(folder, "results.jsonl"):
                own = [each for each in episodes if each["policy"] == row["policy"]]
                assert row["success"] == row["success_any"] == np.mean([each["first"] is not None for each in own])
                assert row["sources"] == len({each["source"] for each in own}) <= row["episodes"] == len(own) == 7
                last = [each["success_last"] for each in own]
                assert (last == [None] * 7) == (folder == stopped)
                assert row["success_last"] == (None if folder == stopped else np.mean(last))
        stood, went = (rows_of(folder, "results.jsonl") for folder in (stopped, free))
        assert [row["success"] for row in stood] == [row["success"] for row in went]
        replay = next(row for row in went if row["policy"] == "replay")
        assert replay["success"] == replay["success_last"] == 1.0

    def test_two_runs_are_compared_episode_by_episode(
        self, folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = self.play(folders, tmp_path / "a", task=Task(ahead=3))
        names = [str(tmp_path / name) for name in "abc"]
        for name in names[1:]:
            self.play(folders, Path(name), goals=names[0], seed=len(name))
        rows, hits = rows_of(first, "episodes.jsonl"), {"a": "1000000", "b": "1110110", "c": "0110000"}
        sources = ["x", "x", "y", "z", "z", "u", "v"]
        for name, won in hits.items():
            own = [dict(row) for row in rows]
            for row, hit, source in zip(own[-7:], won, sources, strict=True):
                row |= {"success": hit == "1", "source": source}
            (tmp_path / name / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
        compare(names, str(tmp_path / "table.json"))
        table = read_json(tmp_path / "table.json")
        assert [row["policy"] for row in table] == ["noop", "random", "replay", "cloned", "cem", "cem", "cem"]
        b, c = table[-2:]
        assert (b["gained"], b["lost"], b["difference"], b["sources"]) == (4, 0, 4 / 7, 5)
        assert (c["gained"], c["lost"]) == (2, 1) and c["difference"] == pytest.approx(1 / 7)
        # Four sources gained one episode each: all signs alike, two ways of sixteen.
        assert b["p"] == sign_flip_test(np.ones(4), np.arange(4)) == 2 / 16 and b["p_holm"] == 2 / 8 and c["p"] == 1
        said = capsys.readouterr().out
        assert "; +57.1%" in said and "Holm 0.25" in said
        # Two rounds of eight candidates; behaviour cloning has one, and who does not plan none.
        assert [row.get("evaluations") for row in table] == [None, None, None, 1, 16, 16, 16]
        assert all(row["seconds_each"] > 0 for row in table[3:])
        assert said.count("of 7 from 5 recorded; 16 candidates and ") == 3
        assert all(f"and {1000 * row['seconds_each']:.3g} ms a plan" in said for row in table[3:])

    def test_what_cannot_be_compared_is_refused(self, folders: tuple[str, str], tmp_path: Path) -> None:
        names = [str(self.play(folders, tmp_path / "a")), str(self.play(folders, tmp_path / "b", seed=1))]
        with pytest.raises(
            UserError, match=r"b was played on the goals .*; expected the same: plan again with --goals"
        ):
            compare(names)
        self.play(folders, tmp_path / "c", steps=8, goals=names[0])
        with pytest.raises(UserError, match=r"c was played by {'steps': 8, 'check': 1}"):
            compare([names[0], str(tmp_path / "c")])
        with pytest.raises(UserError, match="expected at least two"):
            compare(names[:1])
        with pytest.raises(UserError, match="each folder once"):
            compare([names[0], f"{names[0]}/"])
        with pytest.raises(UserError, match="a is a folder; expected the name of a file"):
            compare([names[0], str(self.play(folders, tmp_path / "same", goals=names[0]))], names[0])
        assert (tmp_path / "a" / "results.jsonl").is_file()
        broken, rows = tmp_path / "same" / "episodes.jsonl", rows_of(tmp_path / "same", "episodes.jsonl")
        for kept in (rows[:-1], [*rows[:-2], rows[-1], rows[-2]]):
            broken.write_text("".join(json.dumps(row) + "\n" for row in kept))
            with pytest.raises(
                UserError, match=r"other ones or in another order than the 7 of .*same/episodes.jsonl is"
            ):
                compare([names[0], str(tmp_path / "same")])
        broken.write_text("".join(json.dumps(row) + "\n" for row in rows if row["policy"] != "cem"))
        with pytest.raises(UserError, match=r"ends with the episodes of \['cloned'\]; expected 'cem'"):
            compare([names[0], str(tmp_path / "same")])
        broken.write_text("")
        with pytest.raises(UserError, match="ends with the episodes of nobody; expected 'cem'"):
            compare([names[0], str(tmp_path / "same")])
        for name in ("goal", "goals", "policy", "source", "success", "success_last", "episode"):
            broken.write_text(json.dumps({key: value for key, value in rows[0].items() if key != name}))
            with pytest.raises(UserError, match=rf"same/episodes.jsonl is broken \(KeyError\('{name}'\)\)"):
                compare([names[0], str(tmp_path / "same")])
        (tmp_path / "b" / "episodes.jsonl").unlink()
        with pytest.raises(UserError, match=r"b/episodes.jsonl is missing; expected a folder that plan wrote"):
            compare(names)

    def test_behaviour_cloning_is_what_planning_without_a_search_is(
        self, folders: tuple[str, str], tmp_path: Path
    ) -> None:
        beside = self.play(folders, tmp_path / "a", task=Task(ahead=3))
        alone = self.play(folders, tmp_path / "b", goals=str(beside), search=Search(Amortised(), horizon=2))
        names = [[row["policy"] for row in rows_of(folder, "results.jsonl")] for folder in (beside, alone)]
        assert names == [["noop", "random", "replay", "cloned", "cem"], ["noop", "random", "replay", "amortised"]]
        cloned, planned = (
            [row["first"] for row in rows_of(folder, "episodes.jsonl") if row["policy"] == policy]
            for folder, policy in ((beside, "cloned"), (alone, "amortised"))
        )
        assert cloned == planned

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("factors", [1], "AttributeError"),
            ("goal", [[0.5, 0.5]], r"states \(7, 2\) and goals \(1, 2\)"),
            ("goal", [[0.5, 0.5, 0.5]] * 7, r"goals \(7, 3\)"),
            ("state", [[float("nan"), 0.5]] * 7, "finite numbers"),
            ("state", "here", r"states \(\)"),
            ("factors", {"agent_size": [0.05]}, r"got agent_size \(1,\); expected a row for each of 7"),
            ("excluded", "some", "got excluded 'some'"),
        ],
    )
    def test_a_file_that_holds_no_goals_is_refused_before_anything_is_written(
        self, folders: tuple[str, str], tmp_path: Path, name: str, value: object, said: str
    ) -> None:
        values = RoomGoals.sample(7, {}, 0).to_json()
        (tmp_path / "goals-image.json").write_text(json.dumps(values | {name: value}))
        with pytest.raises(UserError, match=f"goals-image.json is no goal set .*{said}"):
            self.play(folders, tmp_path / "out", goals=str(tmp_path))
        assert not (tmp_path / "out").exists()

    def test_what_cannot_be_planned_for_is_refused_before_anything_is_played_or_written(
        self, folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Match, "scripted", lambda *_: pytest.fail("a floor was played"))
        refused = [
            ({"text_episodes": 2}, "no text alignment"),
            ({"search": dataclasses.replace(SEARCH, terms=[Uncertainty()])}, "one predictor"),
            ({"search": dataclasses.replace(SEARCH, constraints=[Avoid([0, 0], [1, 1])])}, "no StateHead"),
            ({"search": Search(CategoricalCEM(8, 2, 1), horizon=2)}, "CategoricalCEM"),
            ({"parallel": 0}, r"parallel \[7, 9, 1, 0\]"),
            ({"seed": -1}, "seed -1; expected"),
        ]
        for options, said in refused:
            with pytest.raises(UserError, match=said):
                self.play(folders, tmp_path / "out", **options)
        parts = {"encoder": ViT(patch=8, dim=6, depth=1, heads=2), "dynamics": MLPDynamics(6, 4, 3, 5, width=8)}
        save_modules(tmp_path / "three" / "model", parts)
        write_manifest(tmp_path / "three", "forecast")
        with pytest.raises(UserError, match=r"an environment with actions Box.*; expected 3 numbers"):
            self.play((str(tmp_path / "three"), folders[1]), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_more_of_an_earlier_run_than_there_is(self, folders: tuple[str, str], tmp_path: Path) -> None:
        first = self.play(folders, tmp_path / "a")
        some = self.play(folders, tmp_path / "b", goals=str(first), episodes=4)
        kept = [row["episode"] for row in rows_of(first, "episodes.jsonl")[:4]]
        assert [row["episode"] for row in rows_of(some, "episodes.jsonl")[:4]] == kept
        with pytest.raises(UserError, match="7 of 7 starts do not satisfy their goals already; expected 8"):
            self.play(folders, tmp_path / "c", goals=str(first), episodes=8)


def test_sentences_have_no_source_but_themselves() -> None:
    assert RegionGoals.sample(5, {}, 0).sources.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "path", sorted(find_config("push_t/plan").parents[1].glob("protocols/*.yaml")), ids=lambda p: p.stem
)
def test_a_protocol_holds_every_argument_and_its_numbers_fit(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    assert config.keys() == inspect.signature(plan).parameters.keys()
    assert config["check"] in (1, 5 * config["search"]["replan"]) and config["steps"] % config["check"] == 0
    assert config["task"].keys() == inspect.signature(Task).parameters.keys()
    world = next((name for name in ("push_t", "reacher", "cube") if path.stem.endswith(name)), "two_rooms")
    assert config["model"] == f"runs/{world}/forecast" and config["data"] == f"runs/{world}/collect"
    # What is of one environment alone is refused elsewhere.
    only = {"reacher": "swm/ReacherDMControl-v0", "cube": "swm/OGBCube-v0"}
    assert config["environment"] == only.get(world)


TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (find_config("push_t/plan").parents[2] / "docs" / "protocols.md").read_text().splitlines()
    if re.match(r"\| `(two_rooms|push_t|protocols)/", line)
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: re.findall(r"`(.*?)`", row[0])[0])
def test_the_documented_table_says_what_the_configs_do(row: list[str]) -> None:
    name, goals, episodes, steps, plans, looked, searched = row
    config = yaml.safe_load(find_config(re.findall(r"`(.*?)`", name)[0]).read_text())
    search, planner = config["search"], config["search"]["planner"]
    while inner := planner["init_args"].get("planner"):
        planner = inner
    ahead = re.findall(r"recorded, (\d+) steps ahead|drawn", goals)
    assert ahead == [str(config["task"]["ahead"] or "")]
    played = [config["episodes"]] + ([config["text_episodes"]] if config["text_episodes"] else [])
    assert re.findall(r"\d+", episodes) == [str(number) for number in played]
    assert re.findall(r"\d+", steps) == [str(config["steps"])]
    done = {"1 done": 1, "all done": search["horizon"]}
    horizon, replan = re.fullmatch(r"(?:one )?of (\d+) blocks(?:, (.*))?", plans).groups()  # type: ignore[union-attr]
    assert int(horizon) == search["horizon"] and done[replan or "all done"] == search["replan"]
    # One plan done whole is looked at as it ends.
    often = {"each step": 1, "after each plan": 5 * search["replan"], "at the end": config["steps"]}
    assert often[looked] == config["check"]
    asked = [planner["init_args"][name] for name in ("samples", "elites", "iterations")]
    assert re.findall(r"\d+", searched)[:3] == [str(number) for number in asked]


def test_every_protocol_is_in_the_documented_table() -> None:
    shipped = {path.stem for path in find_config("push_t/plan").parents[1].glob("protocols/*.yaml")}
    assert {f"`protocols/{name}`" for name in shipped} == {row[0] for row in TABLE if "protocols/" in row[0]}
