"""The bar over a training's steps."""

import io
import re
import sys
from pathlib import Path

import pytest
import torch

from pretrain.callbacks import NanGuard, Resumable, StepsBar
from pretrain.module import Training


class Terminal(io.StringIO):
    """Standard error of somebody who watches."""

    def isatty(self) -> bool:
        return True


def test_steps_are_counted_and_losses_told(fit, vit, dropped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    fit(Training(vit(), {"fine": dropped}), tmp_path, StepsBar(), accumulate=2, steps=3)
    said = sys.stderr.getvalue()
    # Six batches make three steps.
    assert "3/3" in said and "/6" not in said and "epoch" not in said.lower()
    assert re.search(r"train/loss=[\d.e-]+, val/loss=[\d.e-]+", said)


def test_it_begins_where_the_run_stands(fit, vit, dropped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(Training(vit(), {"fine": dropped}), tmp_path, Resumable(tmp_path, steps=2), NanGuard(tmp_path), steps=4)
    saved = torch.load(tmp_path / "resume.ckpt", weights_only=True)["global_step"]
    assert saved > 0
    monkeypatch.setattr(sys, "stderr", Terminal())
    fit(Training(vit(), {"fine": dropped}), tmp_path, StepsBar(), steps=6, resume=tmp_path / "resume.ckpt")
    counts = [int(count) for count in re.findall(r"(\d+)/6 ", sys.stderr.getvalue())]
    assert counts[0] == saved and counts[-1] == 6


def test_a_log_file_stays_empty(fit, vit, dropped, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(Training(vit(), {"fine": dropped}), tmp_path, StepsBar(), steps=2)
    assert "2/2" not in capsys.readouterr().err
