"""Each warning comes where it should and nowhere else; the shipped configs give none."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from jepa_wm import precision
from jepa_wm.cli import main
from jepa_wm.paths import config_root
from pretrain.advice import advice

CONFIG: dict[str, Any] = {
    "trainer": {"max_steps": 1000, "devices": 2, "num_nodes": 1, "accumulate_grad_batches": 4, "precision": None},
    "data": {"batch_size": 256},
    "model": {
        "lr": 1e-3,
        "weight_decay": 0.05,
        "warmup": 0.05,
        "objectives": {"masked": {"class_path": "a.MaskedLatentPrediction", "init_args": {"decay": [0.996, 1.0]}}},
    },
    "recipe": {"batch": 2048, "lr": 1e-3},
    "snapshots": 5,
}


def changed(**settings: Any) -> dict[str, Any]:
    """The config with other settings, by dotted path with __ for the dots."""
    config = copy.deepcopy(CONFIG)
    for path, value in settings.items():
        *keys, last = path.split("__")
        part = config
        for key in keys:
            part = part.setdefault(key, {})
        part[last] = value
    return config


def schedule(name: str, **arguments: float) -> dict[str, Any]:
    return {"class_path": f"jepa_wm.schedules.{name}", "init_args": arguments}


def forecast(**arguments: Any) -> dict[str, Any]:
    """Settings with a dynamics of such arguments, and clips of four frames."""
    dynamics = {"class_path": "a.Dynamics", "init_args": arguments}
    objective = {"class_path": "a.Forecasting", "init_args": {"dynamics": dynamics}}
    return {"data__frames": 4, "model__objectives__next": objective}


def test_a_sound_config_is_not_commented_upon() -> None:
    assert advice(CONFIG) == []
    assert advice({}) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trainer__max_steps": 19}, "model.lr: the warm-up is 0.05 of 19 steps, less than one; train for at least 20"),
        ({"model__lr": schedule("WarmupCosine", peak=2e-3, warmup=0.0004)}, "train for at least 2500 steps"),
        (
            {"model__weight_decay": schedule("WarmupConstantCooldown", peak=0.1, warmup=0.0001)},
            "model.weight_decay: the warm-up",
        ),
        ({"trainer__val_check_interval": 4001}, "training has 4000; nothing is ever validated"),
        ({"snapshots": 1001}, "snapshots is 1001 and training has 1000 steps"),
        (
            {"data__batch_size": 64, "trainer__devices": 1},
            "the recipe's 0.001 scaled by the batch's root is 0.000354, in proportion to it 0.000125",
        ),
        # Not the recipe's, but far from what suits a batch of 16.
        ({"data__batch_size": 2, "model__lr": 1.1e-3}, "a step has 16 samples"),
        ({"data__batch_size": 2, "model__lr": 3.8e-6}, "in proportion to it 7.81e-06"),
        ({"trainer__devices": 5}, "a step has 5120 samples"),
        ({"model__lr": 2.1e-3}, "model.lr is 0.0021"),
        ({"model__lr": 4.9e-4}, "model.lr is 0.00049"),
        ({"trainer__devices": 8}, "a step has 8192 samples (256 x 8 devices x 4 accumulated) and the recipe 2048"),
        (
            {"trainer__num_nodes": 4, "model__lr": schedule("WarmupCosine", peak=1e-3, warmup=0.05)},
            "scaled by the batch's root is 0.002",
        ),
        ({"trainer__precision": "16-mixed"}, "its range is small"),
        ({"model__objectives__masked__init_args__decay": [1.0, 1.0]}, "objectives.masked: decay is 1 from beginning"),
        ({"model__objectives__masked__init_args__decay": schedule("Constant", value=1.0)}, "decay is 1 from beginning"),
        (
            {"model__objectives__text": {"class_path": "a.ContrastiveText", "init_args": {}}},
            "model.objectives.text (ContrastiveText) compares the samples of a batch",
        ),
        ({"model__objectives__masked__init_args__sigreg": 0.05}, "its batch is 256 x 2, not the sum of the parts"),
        (
            {"model__objectives__next": {"class_path": "a.Forecasting", "init_args": {"freeze_encoder": True}}},
            "the encoder is frozen, and masked would train it",
        ),
        ({"start_from": "a", "source": "b"}, "give start_from alone"),
        (forecast(window=4), "objectives.next: the dynamics' window is 4 frames, and of a clip of 4 3 are read"),
        (
            forecast(member={"init_args": {"window": 32}}),
            "raise data.frames to 33, or lower the window to 3",
        ),
        (forecast() | {"calibration_frames": 9}, "calibration_frames is 9 and no dynamics is an Ensemble"),
    ],
)
def test_each_mistake_is_named_once(settings: dict[str, Any], said: str) -> None:
    found = advice(changed(**settings))
    assert len(found) == 1 and said in found[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"trainer__max_steps": 20},
        {"model__warmup": 0.0, "trainer__max_steps": 5},
        {"model__lr": schedule("Constant", value=2e-3), "trainer__max_steps": 10},
        {"trainer__val_check_interval": 4000},
        {"snapshots": 1000},
        {"data__batch_size": 128},
        {"data__batch_size": 512},
        {"trainer__devices": 8, "model__lr": 2e-3},
        {"trainer__devices": 8, "model__lr": 4e-3},
        {"trainer__devices": 8, "model__lr": 8e-3},
        {"data__batch_size": 2, "model__lr": 1.2e-4},
        {"data__batch_size": 2, "model__lr": 4e-6},
        {"model__lr": 5e-4},
        {"trainer__devices": 8, "recipe": None},
        {"trainer__devices": [0, 1]},
        {"trainer__devices": "0,1"},
        {"trainer__devices": "2"},
        {"model__objectives__masked__init_args__decay": 0.99925},
        {"model__objectives__masked__init_args__sigreg": 0.0},
        {"trainer__precision": "32-true"},
        {"start_from": "a"},
        {"start_from": "a", "source": "a"},
        forecast(window=3),
        forecast(window=4) | {"data__frames": 5},
        forecast()
        | {"calibration_frames": 9, "model__objectives__next__init_args__dynamics__class_path": "a.Ensemble"},
    ],
)
def test_what_is_no_mistake_is_not_commented_upon(settings: dict[str, Any]) -> None:
    assert advice(changed(**settings)) == []


@pytest.mark.parametrize("has", [True, False])
def test_bf16_where_it_is_emulated(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    config = changed(trainer__precision="bf16-mixed", trainer__accelerator="cpu")
    assert precision.has_bf16("cpu") == has
    assert (advice(config) == []) == has


TRAININGS = [
    f"{folder}/{path.stem}"
    for folder in ("two_rooms", "push_t", "dynamics")
    for path in sorted((config_root() / folder).glob("*.yaml"))
    if "objectives:" in path.read_text()
]


@pytest.mark.parametrize("name", TRAININGS)
def test_the_shipped_configs_give_no_warning(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", name]) == 0
    assert "nothing to warn of" in capsys.readouterr().out


def test_check_reads_builds_nothing_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--config", "two_rooms/pretrain", f"--run={tmp_path / 'run'}", "--data.folder=nowhere"]
    with pytest.raises(SystemExit) as ended:
        main(["check", *options, "--trainer.max_steps=10", "--recipe={batch: 1024, lr: 5.0e-4}"])
    said = capsys.readouterr().out.splitlines()
    assert ended.value.code == 1 and len(said) == 3 and all(line.startswith("warning: ") for line in said)
    assert list(tmp_path.iterdir()) == []
    assert main(["check", *options, "--trainer.max_stepps=10"]) == 2
    assert main(["check", *options, "--recipe={batch: 1024, rate: 1}"]) == 2
