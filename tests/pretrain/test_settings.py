"""How long a training is must be said; what may change when it goes on, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from jepa_wm.cli import main
from jepa_wm.manifest import is_complete
from pretrain.settings import changes

pytestmark = pytest.mark.filterwarnings("default::UserWarning")


def train(recipes: dict[str, Path], run: Path, *options: str) -> int:
    return main(["pretrain", f"--config={recipes['pretrain']}", f"--run={run}", *options])


@pytest.mark.parametrize("steps", [-1, 0])
@pytest.mark.parametrize("verb", ["pretrain", "check"])
def test_a_training_that_does_not_say_how_many_steps_it_has_is_refused(
    recipes: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, steps: int
) -> None:
    options = [f"--config={recipes['pretrain']}", f"--run={tmp_path / 'run'}", "--trainer.max_epochs=2"]
    assert main([verb, *options, f"--trainer.max_steps={steps}"]) == 2
    said = capsys.readouterr().err
    assert f"trainer.max_steps: got {steps}; expected 1 or more" in said and "not how many epochs" in said
    assert not (tmp_path / "run").exists()


def test_a_training_that_ends_before_its_last_step_is_not_complete(
    recipes: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("--trainer.limit_train_batches=2", "--trainer.max_epochs=1", "--trainer.val_check_interval=2")
    assert train(recipes, tmp_path / "run", *short) == 2
    assert "training ended after step 2 of 6; expected all" in capsys.readouterr().err
    assert not is_complete(tmp_path / "run") and not (tmp_path / "run" / "model").exists()


def settings(devices: Any, nodes: int = 1) -> dict[str, Any]:
    trainer = {"devices": devices, "num_nodes": nodes, "accumulate_grad_batches": 3}
    return {"trainer": trainer, "data": {"batch_size": 4}}


def test_other_samples_a_step_are_warned_of_when_a_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings(devices=8)))
    # A run of which nothing is saved begins anew.
    assert list(changes(tmp_path, settings(devices=2))) == []
    (tmp_path / "resume.ckpt").touch()
    (said,) = changes(tmp_path, settings(devices=2))
    assert "begun with 96 samples a step (8 devices) and goes on with 24 (2 devices)" in said
    assert list(changes(tmp_path, settings(devices=4, nodes=2))) == []


def test_one_cache_serves_training_and_health(
    recipes: dict[str, Path], shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = fsspec.filesystem("memory")
    remote.put(str(shards), "/cached", recursive=True)
    monkeypatch.setenv("JEPA_WM_CACHE", str(tmp_path / "default"))
    options = ("--data.folder=memory://cached", f"--data.cache.folder={tmp_path / 'own'}", "--trainer.max_steps=1")
    try:
        assert train(recipes, tmp_path / "run", *options) == 0
    finally:
        remote.rm("/cached", recursive=True)
    assert any((tmp_path / "own").rglob("*.tar")) and not (tmp_path / "default").exists()
