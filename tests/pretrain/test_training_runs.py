"""Training on run folders: what it leaves, that it resumes bit for bit, and what it refuses."""

import argparse
import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jepa_wm.encoders import PooledFrames, load_encoder
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest
from jepa_wm.world_model import WorldModel
from pretrain.cli import main
from pretrain.module import Training

pytestmark = pytest.mark.filterwarnings("default::UserWarning")


def train(recipe: Path, run: Path, *options: str) -> Path:
    main([f"--config={recipe}", f"--run={run}", *options])
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted((run / "model").rglob("model.safetensors"))
    return {f"{file.parent.name}.{key}": value for file in files for key, value in load_file(file).items()}


def metrics(run: Path) -> dict[int, dict[str, float]]:
    steps: dict[int, dict[str, float]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        steps.setdefault(record["step"], {}).update(record)
    return steps


@pytest.fixture(scope="module")
def pretrained(recipes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipes["pretrain"], tmp_path_factory.mktemp("runs") / "pretrain")


def test_a_run_leaves_models_snapshots_metrics_and_a_manifest(pretrained: Path) -> None:
    manifest = read_manifest(pretrained, "pretrain")
    assert manifest["steps"] == 6 and manifest["config"]["trainer"]["max_steps"] == 6
    assert sorted(path.name for path in (pretrained / "checkpoints").iterdir()) == [
        "step-000000",
        "step-000003",
        "step-000006",
    ]
    assert {path.name for path in (pretrained / "model").iterdir()} == {
        "encoder",
        "parts.json",
        "teacher",
        "text",
    }
    assert not (pretrained / "resume.ckpt").exists()
    logged = metrics(pretrained)
    assert all("train/masked/loss" in logged[step] for step in range(6))
    assert {"val/loss", "health/rankme", "health/spread_min", "health/position_r2", "health/position_knn_r2"} <= set(
        logged[5]
    )
    # The teacher that is exported is measured, too.
    measured = {name for name in logged[5] if name.startswith(("health/", "probe/"))}
    own = {name for name in measured if "/teacher_" not in name}
    assert measured - own == {name.replace("/", "/teacher_") for name in own}
    assert logged[5]["val/loss"] == pytest.approx(logged[5]["val/masked/loss"] + logged[5]["val/text/loss"], rel=1e-5)
    first, last = (load_encoder(str(pretrained / "checkpoints" / f"step-00000{step}")) for step in (0, 6))
    assert not torch.equal(first.embed.weight, last.embed.weight)
    assert torch.equal(last.embed.weight, load_encoder(str(pretrained)).embed.weight)
    teacher = load_encoder(str(pretrained), "teacher").embed.weight
    assert not torch.equal(last.embed.weight, teacher) and not torch.equal(first.embed.weight, teacher)


@pytest.mark.parametrize("stop", [2, 4])
def test_an_interrupted_run_continues_bit_for_bit(
    pretrained: Path, recipes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    step = Training.training_step

    def interrupted(self: Training, batch: dict, batch_idx: int) -> torch.Tensor:
        if self.global_step == stop + 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "training_step", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(recipes["pretrain"], tmp_path / "run", "--resume.steps=2")
    assert (tmp_path / "run" / "resume.ckpt").is_file() and not (tmp_path / "run" / "manifest.json").exists()
    resumed, straight = weights(train(recipes["pretrain"], tmp_path / "run")), weights(pretrained)
    assert resumed.keys() == straight.keys()
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


def test_a_run_goes_on_with_other_workers(
    pretrained: Path, recipes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Training.training_step

    def interrupted(self: Training, batch: dict, batch_idx: int) -> torch.Tensor:
        if self.global_step == 3:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "training_step", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(recipes["pretrain"], tmp_path / "run", "--resume.steps=3")
    resumed, straight = weights(train(recipes["pretrain"], tmp_path / "run", "--data.workers=2")), weights(pretrained)
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


def test_a_mixture_is_drawn_by_weight_and_counted(
    pretrained: Path, recipes: dict[str, Path], shards: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(shards, other)
    mixture = f"--data.folder={{{shards}: 3, {other}: 1}}"
    run = train(recipes["pretrain"], tmp_path / "run", mixture, "--trainer.max_steps=4")
    data = read_manifest(run)["data"]
    # Four steps of eight clips, four of each episode.
    counts = [data[str(folder)]["train_samples"] for folder in (shards, other)]
    assert sum(counts) == 8 and counts[0] > counts[1]
    assert data[str(shards)]["data_hash"] == data[str(other)]["data_hash"] == read_manifest(shards)["data_hash"]
    assert data[str(shards)]["environment"] == "jepa_wm/TwoRooms-v0"
    assert not data[str(shards)]["train_broken"]
    assert f"data{shards}/samples" in metrics(run)[3]
    assert any("data/samples" in record for record in metrics(pretrained).values())


def test_the_seed_decides(pretrained: Path, recipes: dict[str, Path], tmp_path: Path) -> None:
    other = weights(train(recipes["pretrain"], tmp_path / "run", "--data.seed=7"))
    assert not torch.equal(other["encoder.embed.weight"], weights(pretrained)["encoder.embed.weight"])


@pytest.mark.parametrize("alarm", [0.0, 100.0])
def test_collapse_is_said_aloud(recipes: dict[str, Path], tmp_path: Path, alarm: float) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(recipes["pretrain"], tmp_path / "run", f"--health.alarm.rankme={alarm}")
    assert any("collapse: RankMe" in str(warning.message) for warning in caught) == (alarm > 0)


def test_a_collapse_stops_the_run_if_that_is_asked_for(recipes: dict[str, Path], tmp_path: Path) -> None:
    options = ("--health.alarm.rankme=100", "--health.alarm.after=0", "--health.alarm.stop=true")
    with pytest.raises(UserError, match=r"RankMe of the encoder's held-out latents is .* at step 3; lower"):
        train(recipes["pretrain"], tmp_path / "run", *options)
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_forecasting_starts_from_the_pretrained_parts(
    pretrained: Path, recipes: dict[str, Path], tmp_path: Path
) -> None:
    run = train(recipes["forecast"], tmp_path / "forecast", f"--source={pretrained}")
    read_manifest(run, "forecast")
    start = run / "checkpoints" / "step-000000"
    for part in ("encoder", "text"):
        before = load_file(pretrained / "model" / part / "model.safetensors")
        after = load_file(start / part / "model.safetensors")
        assert all(torch.equal(before[name], after[name]) for name in before)
    model = WorldModel.from_pretrained(run)
    assert model.text is not None
    learned = model.dynamics.actions.standard.std.tolist()  # type: ignore[union-attr]
    shards = read_manifest(run)["config"]["data"]["folder"]
    assert learned == pytest.approx(read_manifest(shards)["statistics"]["action_std"])
    pixels = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(pixels), PooledFrames()(model.encoder, pixels))


def test_a_folder_that_holds_something_else_is_refused(
    pretrained: Path, recipes: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipes["pretrain"], pretrained)
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"other settings: model\.lr=\S+, got 0\.1; use"):
        train(recipes["pretrain"], pretrained, "--model.lr=0.1")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        train(recipes["pretrain"], tmp_path / "foreign")
    with pytest.raises(UserError, match="stage 'pretrain'; expected forecast"):
        shutil.copytree(pretrained, tmp_path / "copy")
        train(recipes["forecast"], tmp_path / "copy", f"--source={pretrained}")


@pytest.mark.parametrize(
    "option",
    ["--model.lrr=1", "--data.frames=many", "--trainer.max_steps=x", "--optimizer=SGD", "--health.alarm.rank=1"],
)
def test_wrong_keys_and_types_are_refused(recipes: dict[str, Path], tmp_path: Path, option: str) -> None:
    with pytest.raises(argparse.ArgumentError):
        train(recipes["pretrain"], tmp_path / "run", option)
    assert not (tmp_path / "run").exists()


def test_a_mistake_in_the_data_leaves_no_folder_behind(recipes: dict[str, Path], tmp_path: Path) -> None:
    for option, reason in (
        ("--data.batch_size=6", "not a multiple"),
        ("--data.frames=40", "all 24 episodes of .* are shorter than 196 frames"),
    ):
        with pytest.raises(UserError, match=reason):
            train(recipes["pretrain"], tmp_path / "run", option)
        assert not (tmp_path / "run").exists()


def test_a_mistake_that_the_first_batch_shows_leaves_no_folder_behind(
    recipes: dict[str, Path], pretrained: Path, tmp_path: Path
) -> None:
    run, source = tmp_path / "run", f"--source={pretrained}"
    with pytest.raises(UserError, match=r"data's action blocks are 4 wide; expected 10"):
        train(recipes["forecast"], run, source, "--data.frame_skip=2")
    assert not run.exists()


def test_a_weight_that_names_no_objective_and_a_source_without_parts_are_refused(
    recipes: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="maksed"):
        train(recipes["pretrain"], tmp_path / "run", '--model.weights={"maksed": 1.0}')
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no 'encoder'"):
        train(recipes["forecast"], tmp_path / "run", f"--source={tmp_path / 'empty'}")
    assert not (tmp_path / "run").exists()
