"""Runs that are ended from outside, by real signals to real processes, go on bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file

from pretrain.callbacks.resumable import Resumable, save_whole
from pretrain.cli import main
from pretrain.module import Training

pytestmark = pytest.mark.filterwarnings("default::UserWarning")

OPTIONS = ("--trainer.max_steps=60", "--trainer.val_check_interval=30", "--resume.steps=null", "--data.workers=1")


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted((run / "model").rglob("model.safetensors"))
    return {f"{file.parent.name}.{key}": value for file in files for key, value in load_file(file).items()}


def interrupt(recipe: Path, run: Path, *options: str) -> tuple[int, str]:
    """Begin a run in a process of its own and, once it is under way, tell all processes of its group to end."""
    argv = [sys.executable, "-m", "jepa_wm", "pretrain", f"--config={recipe}", f"--run={run}", *options]
    began = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        metrics = run / "metrics.jsonl"
        while not metrics.is_file() or metrics.read_bytes().count(b"\n") < 3:
            assert began.poll() is None and time.monotonic() < deadline, began.stderr and began.stderr.read()
            time.sleep(0.02)
        os.killpg(began.pid, signal.SIGTERM)
        said = began.communicate(timeout=60)[1]
    finally:
        if began.poll() is None:
            os.killpg(began.pid, signal.SIGKILL)
            began.wait()
    return began.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_that_is_told_to_end_saves_its_state_and_goes_on_bit_for_bit(
    recipes: dict[str, Path], tmp_path: Path, accumulate: int
) -> None:
    options = (*OPTIONS, f"--trainer.accumulate_grad_batches={accumulate}")
    code, said = interrupt(recipes["pretrain"], tmp_path / "run", *options)
    assert code == 143 and "stopped by SIGTERM after step" in said and "same command again to continue" in said
    state = torch.load(tmp_path / "run" / "resume.ckpt", weights_only=True)
    assert 0 < state["global_step"] < 60 and f"after step {state['global_step']} of 60" in said
    assert not (tmp_path / "run" / "manifest.json").exists()
    main([f"--config={recipes['pretrain']}", f"--run={tmp_path / 'run'}", *options])
    main([f"--config={recipes['pretrain']}", f"--run={tmp_path / 'straight'}", *options])
    resumed, straight = weights(tmp_path / "run"), weights(tmp_path / "straight")
    assert resumed.keys() == straight.keys() and resumed
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)
    assert not (tmp_path / "run" / "resume.ckpt").exists()


class Saves(L.Callback):
    """The optimiser steps after which `resume.ckpt` was another file."""

    def __init__(self, path: Path) -> None:
        self.path, self.steps, self.last = path, list[int](), 0

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        now = self.path.stat().st_mtime_ns if self.path.exists() else 0
        if now != self.last:
            self.steps.append(trainer.global_step)
        self.last = now


@pytest.mark.parametrize(
    ("steps", "minutes", "accumulate", "expected"),
    [(2, 9.0, 1, [2, 4]), (2, 9.0, 2, [2, 4]), (None, 0.0, 1, [1, 2, 3, 4]), (None, 9.0, 1, [])],
)
def test_the_state_is_saved_every_so_many_steps_and_minutes_but_not_at_the_end(
    fit, vit, dropped, tmp_path: Path, steps: int | None, minutes: float, accumulate: int, expected: list[int]
) -> None:
    saves = Saves(tmp_path / "resume.ckpt")
    resumable = Resumable(tmp_path, steps, minutes)
    training = Training(vit(), {"dropped": dropped})
    fit(training, tmp_path, resumable, saves, batch_size=4, accumulate=accumulate, steps=5)
    assert saves.steps == expected


def test_handlers_are_put_back(fit, vit, dropped, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fit(Training(vit(), {"dropped": dropped}), tmp_path, Resumable(tmp_path))
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_save_that_fails_leaves_the_last_one(tmp_path: Path) -> None:
    class Full:
        is_global_zero = True

        def save_checkpoint(self, path: Path) -> None:
            path.write_text("half")
            raise OSError("no space left")

    (tmp_path / "resume.ckpt").write_text("whole")
    with pytest.raises(OSError, match="no space"):
        save_whole(Full(), tmp_path / "resume.ckpt")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["resume.ckpt"]
    assert (tmp_path / "resume.ckpt").read_text() == "whole"


def test_a_run_that_goes_on_with_fewer_batches_an_epoch_leaves_no_sample_out(fit, vit, dropped, tmp_path: Path) -> None:
    """As on more ranks, whose steps have more samples each; here the batches have."""
    seen: list[list[int]] = [[], []]

    class See(L.Callback):
        def on_train_batch_end(
            self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: dict, batch_idx: int
        ) -> None:
            seen[trainer.train_dataloader.epoch].extend(batch["index"][:, 0].unique().tolist())

    def run(batch_size: int, steps: int, resume: Path | None = None) -> None:
        training = Training(vit(), {"dropped": dropped})
        fit(training, tmp_path, See(), Resumable(tmp_path, steps=6), batch_size=batch_size, steps=steps, resume=resume)

    run(4, 7)
    assert len(set(seen[0])) == 7
    seen[0] = seen[0][:6]  # The state is that of the sixth step.
    run(8, 6 + 9 + 3, resume=tmp_path / "resume.ckpt")
    assert sorted(seen[0]) == list(range(24))
    assert len(set(seen[1])) == len(seen[1]) == 6
