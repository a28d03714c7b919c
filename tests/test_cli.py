"""The command line: its verbs, and what it says to bad input."""

import argparse
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from jepa_wm import __version__, cli
from jepa_wm.cli import TRAINERS, VERBS, main
from jepa_wm.errors import UserError
from jepa_wm.manifest import write_manifest
from jepa_wm.paths import config_root, find_config, shipped_configs


def complaint(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    """The one line that the command complains in, after checking that it is one; Lightning's log is no complaint."""
    assert main(list(argv)) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO: ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"jepa-wm {argv[0]}: ")
    return lines[0]


def small(out: Path) -> list[str]:
    return ["collect", f"--out={out}", "--episodes=3", "--steps=2", "--size=16"]


def config(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return f"--config={path}"


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys; from jepa_wm.cli import main; "
        "assert main(['--help']) == main(['--version']) == main([]) == 0; "
        "print([name for name in ('torch', 'numpy', 'jsonargparse', 'yaml') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
    assert f"jepa-wm {__version__}" in ran.stdout
    assert all(f"  {verb} " in ran.stdout and purpose in ran.stdout for verb, (_, purpose) in VERBS.items())


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_leads_to_a_function_that_can_be_called(verb: str) -> None:
    module, _, name = VERBS[verb][0].partition(":")
    function = getattr(import_module(module), name)
    parameters = inspect.signature(function).parameters
    if verb in TRAINERS:
        assert list(parameters) == ["args"]
    else:
        assert inspect.getdoc(function) and all(p.annotation is not p.empty for p in parameters.values())


# A pack needs an importer, which its own tests give it.
@pytest.mark.parametrize("verb", sorted(set(VERBS) - set(TRAINERS) - {"shards pack"}))
def test_the_config_of_a_verb_fits_its_signature(verb: str) -> None:
    path, function = config_root() / "two_rooms" / f"{verb}.yaml", cli._function(verb)
    settings = yaml.safe_load(path.read_text()) if path.is_file() else {}
    parameters = inspect.signature(function).parameters.items()
    missing = [(name, p) for name, p in parameters if p.default is p.empty and name not in settings]
    required = [f"--{name}={'x' if p.annotation is str else '[x]'}" for name, p in missing]
    parsed = cli._parser(verb, function, [str(path)]).parse_args(required).as_dict()
    assert {key: parsed[key] for key, value in settings.items() if not isinstance(value, dict)} == {
        key: value for key, value in settings.items() if not isinstance(value, dict)
    }


def test_the_verb_reads_its_own_config_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []

    def collect(out: str, seed: int = 5) -> None:
        """Do nothing."""
        seen.append({"out": out, "seed": seed})

    own = tmp_path / "two_rooms" / "collect.yaml"
    own.parent.mkdir()
    own.write_text("seed: 7\n")
    monkeypatch.setattr(cli, "config_root", lambda: tmp_path)
    monkeypatch.setattr(cli, "_function", lambda verb: collect)
    assert main(["collect", "--out=a"]) == main(["collect", "--out=b", config(tmp_path, "{}")]) == 0
    assert main(["collect", "--out=c", "--seed=1"]) == 0
    assert seen == [{"out": "a", "seed": 7}, {"out": "b", "seed": 5}, {"out": "c", "seed": 1}]


def test_trainers_get_their_own_config_first_and_the_rest_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(cli, "_function", lambda verb: seen.append)
    own = config_root() / "two_rooms" / "pretrain.yaml"
    assert main(["pretrain", "--run", "a"]) == main(["pretrain", "--config", "two_rooms/collect"]) == 0
    assert seen[0] == [f"--config={own}", "--run", "a"]
    assert seen[1] == [f"--config={config_root() / 'two_rooms' / 'collect.yaml'}"]


def test_words_before_the_options_are_a_verbs_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def compare(runs: list[str], out: str = "o") -> None:
        """Do nothing."""
        seen.append((runs, out))

    monkeypatch.setattr(cli, "config_root", lambda: tmp_path)
    monkeypatch.setattr(cli, "_function", lambda verb: compare)
    assert (
        main(["compare", "a b", 'c"d', "--out=p"]) == main(["compare", "7"]) == main(["compare", '--runs=["x"]']) == 0
    )
    assert seen == [(["a b", 'c"d'], "p"), (["7"], "o"), (["x"], "o")]


def test_a_word_too_many_is_a_mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "two" in complaint(capsys, "collect", "two", f"--out={tmp_path / 'a'}")


def test_a_verb_may_stand_alone_and_in_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(cli, "run_verb", lambda verb, argv: seen.append((verb, argv)))
    assert main(["probe", "--seed=1"]) == main(["probe", "track", "a"]) == main(["shards", "pack"]) == 0
    assert seen == [("probe", ["--seed=1"]), ("probe track", ["a"]), ("shards pack", [])]


class TestBadInput:
    def test_an_unknown_verb(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert complaint(capsys, "colect").endswith("did you mean 'collect'?")

    def test_an_unknown_option(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        line = complaint(capsys, *small(tmp_path / "a"), "--epsiodes=4")
        assert "--epsiodes" in line and line.endswith("did you mean 'episodes'?")
        assert list(tmp_path.iterdir()) == []

    def test_a_planner_is_named_with_its_module(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        line = complaint(capsys, "plan", f"--out={tmp_path / 'a'}", "--search.planner=ICM")
        assert line.endswith("did you mean 'jepa_wm.planning.ICEM'?")

    def test_a_place_where_nothing_can_be_written(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        line = complaint(capsys, *small(tmp_path / "file" / "a"))
        assert f"{tmp_path / 'file'}" in line and "expected another place" in line

    def test_an_unknown_config_key(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        line = complaint(capsys, *small(tmp_path / "a"), config(tmp_path, "epsiodes: 4\n"))
        assert "'epsiodes'" in line and "mine.yaml" in line and line.endswith("did you mean 'episodes'?")
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("text", ["episodes: many\n", "episodes: 2.5\n", "factors: 3\n"])
    def test_a_wrong_type(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> None:
        line = complaint(capsys, "collect", f"--out={tmp_path / 'a'}", config(tmp_path, text))
        key, value = text.strip().split(": ")
        assert key in line and value in line and "mine.yaml" in line
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("text", ["episodes: [4\n", "- 3\n", "a: b: c\n"])
    def test_a_config_that_is_no_mapping(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> None:
        assert "mine.yaml" in complaint(capsys, "collect", "--out=a", config(tmp_path, text))

    def test_a_missing_config(self, capsys: pytest.CaptureFixture[str]) -> None:
        line = complaint(capsys, "collect", "--out=a", "--config", "two_rooms/nowhere")
        assert "'two_rooms/nowhere'" in line and "two_rooms/collect" in line

    def test_a_missing_required_option(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "out" in complaint(capsys, "collect")

    def test_an_unknown_environment(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        line = complaint(capsys, *small(tmp_path / "a"), "--environment=jepa_wm/Nowhere-v0")
        assert "jepa_wm/Nowhere-v0" in line
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_folder_and_a_run_of_the_wrong_stage(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        empty, wrong = tmp_path / "empty", tmp_path / "wrong"
        empty.mkdir()
        write_manifest(wrong, "probe")
        for folder, reason in ((empty, "empty"), (wrong, "'probe'")):
            line = complaint(capsys, "plan", f"--model={folder}", f"--data={folder}", f"--out={tmp_path / 'a'}")
            assert str(folder) in line and reason in line
        assert not (tmp_path / "a").exists()

    def test_a_missing_shard(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert main(small(tmp_path / "data")) == 0
        shard = next((tmp_path / "data").glob("train*.tar"))
        shard.unlink()
        capsys.readouterr()
        line = complaint(capsys, "pretrain", f"--run={tmp_path / 'a'}", f"--data.folder={tmp_path / 'data'}")
        assert shard.name in line
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize(
        "argument", ["--data.framse=3", "--data.frames=many", "--trainer.max_stepss=3", "--model.lr=fast"]
    )
    def test_trainers_complain_alike(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, argument: str) -> None:
        line = complaint(capsys, "pretrain", f"--run={tmp_path / 'a'}", f"--data.folder={tmp_path}", argument)
        assert argument.removeprefix("--").partition("=")[0] in line
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize(
        ("given", "answer"),
        [
            (
                ["--config=objectives/alignment", "--source=null"],
                r"required: source \(with .*\); give --source",
            ),
            (["--model.objectivs.masked.init_args.images=1"], "did you mean 'model.objectives.masked"),
            (["{config}"], r"'objectivs\..* \(with the config .*mine.yaml\); did you mean 'model.objectives.text"),
            (["--model.weights={maskd: 2.0}"], r"model.weights: got \['maskd'\]; expected .*'masked'"),
            (["--model.objectives.masked.init_args.predictor.widht=5"], "'widht' is not accepted$"),
            (["--model.encoder.init_args.heads=5"], "and 5 heads; expected heads that divide dim"),
            (["--model.objectives.masked.init_args.images.share=2"], "ImageSteps.share: got 2.0; expected a share"),
            (["--model.objectives.masked.init_args.error=l3"], '"error": Expected a .*smooth_l1.* Got value: l3$'),
        ],
    )
    def test_mistakes_in_the_parts_of_a_training(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, given: list[str], answer: str
    ) -> None:
        assert main(small(tmp_path / "data")) == 0
        typo = config(tmp_path, find_config("two_rooms/pretrain").read_text().replace("  objectives:", "  objectivs:"))
        run = [f"--run={tmp_path / 'a'}", f"--data.folder={tmp_path / 'data'}", "--data.batch_size=4"]
        capsys.readouterr()
        assert re.search(answer, complaint(capsys, "pretrain", *(a.replace("{config}", typo) for a in given), *run))
        assert not (tmp_path / "a").exists()

    def test_a_verb_without_a_config_of_its_own_asks_for_one_and_knows_the_names_in_it(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert complaint(capsys, "check").endswith("data.folder; give --config")
        said = complaint(capsys, "check", "--config=two_rooms/pretrain", "--model.lrr=3")
        assert said.endswith("did you mean 'model.lr'?")


class TestStops:
    @pytest.mark.parametrize(
        "error", [UserError("what\n  and   where"), argparse.ArgumentError(None, "what\nand where")]
    )
    def test_many_lines_become_one_and_debug_shows_the_traceback(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(verb: str, argv: list[str]) -> None:
            assert argv == ["--a"]
            raise error

        monkeypatch.setattr(cli, "run_verb", fail)
        assert complaint(capsys, "plan", "--a") == "jepa-wm plan: error: what and where"
        assert main(["--debug", "plan", "--a"]) == main(["plan", "--a", "--debug"]) == 2
        assert capsys.readouterr().err.count("Traceback") == 2

    def test_a_long_message_is_cut(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(verb: str, argv: list[str]) -> None:
            raise UserError("x " * 5000)

        monkeypatch.setattr(cli, "run_verb", fail)
        assert len(complaint(capsys, "plan")) < 4100

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_ctrl_c(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, wrapped: bool) -> None:
        def stop(verb: str, argv: list[str]) -> None:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                if wrapped:  # as Lightning does
                    sys.exit(1)
                raise

        monkeypatch.setattr(cli, "run_verb", stop)
        assert "run the same command again to continue" in complaint(capsys, "pretrain", code=130)

    def test_a_bug_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(verb: str, argv: list[str]) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(cli, "run_verb", fail)
        with pytest.raises(ZeroDivisionError):
            main(["plan"])


def test_threads_spin_shortly_unless_the_user_says_how_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for policy, spins in ((None, "2000"), ("ACTIVE", None)):
        monkeypatch.setattr(cli.os, "environ", {} if policy is None else {"OMP_WAIT_POLICY": policy})
        main(["--version"])
        assert cli.os.environ.get("GOMP_SPINCOUNT") == spins


ENCODED = {"model": "pretrain", "data": "collect", "out": "encode"}


class TestDemo:
    def test_stages_get_what_earlier_ones_made_and_complete_ones_are_skipped(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        from jepa_wm import demo

        calls: dict[str, list[str]] = {}

        def record(stage: str, argv: list[str]) -> None:
            calls[stage] = argv

        out, preset = tmp_path / "out", tmp_path / "preset.yaml"
        preset.write_text("plan: {episodes: 4, goals: [image], name: long}\n")
        write_manifest(out / "collect", "collect")
        monkeypatch.setattr(demo, "run_verb", record)
        demo.demo(str(out), str(preset))
        printed = capsys.readouterr().out
        assert list(calls) == ["pretrain", "forecast", "plan", "probe", "report"]
        assert calls["pretrain"] == [f"--run={out}/pretrain", f"--data.folder={out}/collect"]
        assert calls["plan"][:3] == ["--episodes=4", '--goals=["image"]', "--name=long"]
        assert "[1/6] collect: complete already, skipped" in printed
        preset.write_text("plan: {episodes: 5}\n")
        demo.demo(str(out), str(preset))
        assert calls["plan"][0] == "--episodes=5"
        preset.write_text("collect: {seed: 7}\n")
        with pytest.raises(UserError, match=r"collect was made with the options None .* now has \{'seed': 7\}; delete"):
            demo.demo(str(out), str(preset))

    def test_a_preset_may_name_other_configs_whose_folders_do_not_count(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        from jepa_wm import demo
        from pretrain.cli import Check, _parsed, plain_config

        calls: dict[str, list[str]] = {}
        monkeypatch.setattr(demo, "run_verb", calls.__setitem__)
        demo.demo(str(tmp_path), "push_t")
        assert list(calls) == list(demo.STAGES)  # "encode" among them, which this preset names
        assert calls["encode"][-3:] == [f"--{name}={tmp_path}/{stage}" for name, stage in ENCODED.items()]
        for verb, wanted in (
            ("collect", {"out": "collect", "environment": "jepa_wm/PushT-v0"}),
            ("plan", {"out": "plan", "model": "forecast", "data": "collect", "text_episodes": 0}),
        ):
            argv = cli._resolve_configs(calls[verb])[0]
            parsed = cli._parser(verb, cli._function(verb), []).parse_args(argv)
            ours = {name: str(tmp_path / value) if value in demo.STAGES else value for name, value in wanted.items()}
            assert {name: parsed[name] for name in wanted} == ours
        parsed = plain_config(_parsed(Check, cli._resolve_configs(calls["forecast"])[0]))
        assert parsed["run"] == str(tmp_path / "forecast") and parsed["source"] == str(tmp_path / "pretrain")
        assert parsed["data"]["folder"] == str(tmp_path / "encode") and parsed["data"]["latents"]

    def test_a_demo_is_not_continued_with_another_preset(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        (tmp_path / "demo.json").write_text('{"preset": "smoke"}')
        line = complaint(capsys, "demo", f"--out={tmp_path}", "--preset=default")
        assert "'smoke'" in line and "'default'" in line

    @pytest.mark.parametrize(
        ("text", "reason"), [("[1]", "mapping"), ("fly: {}", "'fly'"), ("plan: 3", "mapping"), ("a: [", "YAML")]
    )
    def test_a_malformed_preset(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, reason: str
    ) -> None:
        preset = tmp_path / "mine.yaml"
        preset.write_text(text)
        line = complaint(capsys, "demo", f"--out={tmp_path / 'a'}", f"--preset={preset}")
        assert "mine.yaml" in line and reason in line
        assert not (tmp_path / "a").exists()

    def test_shipped_presets_name_stages_only(self) -> None:
        from jepa_wm.demo import STAGES, _preset

        for name in ("default", "smoke", "push_t"):
            assert set(_preset(name)) <= set(STAGES)


def test_configs_are_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "two_rooms/collect" in shipped_configs()
    for name in ("two_rooms/collect", "two_rooms/collect.yaml", str(config_root() / "two_rooms" / "collect.yaml")):
        assert find_config(name).samefile(config_root() / "two_rooms" / "collect.yaml")
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("seed: 1\n")
    assert find_config("own.yaml") == Path("own.yaml")
    with pytest.raises(UserError, match="two_rooms/colect"):
        find_config("two_rooms/colect")
