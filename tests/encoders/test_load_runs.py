"""This package's own runs: which of encoder and teacher is taken, and what is said of it."""

from pathlib import Path

import pytest
import torch

from jepa_wm.checkpoint import save_modules
from jepa_wm.encoders import ViT, load_encoder
from jepa_wm.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name, parts in (("both", ("encoder", "teacher")), ("one", ("encoder",))):
        save_modules(tmp_path / name / "model", {part: ViT(8, 1, 24, 1, 2) for part in parts})
    return tmp_path


@pytest.mark.parametrize(
    ("name", "part", "expected"),
    [
        ("both", None, "encoder"),
        ("both", "encoder", "encoder"),
        ("both", "context", "encoder"),
        ("both", "teacher", "teacher"),
        ("both", "target", "teacher"),
        ("one", "target", "encoder"),
    ],
)
def test_the_part_that_is_asked_for(run: Path, name: str, part: str | None, expected: str) -> None:
    from safetensors.torch import load_file

    found = load_encoder(str(run / name), part)
    saved = load_file(run / name / "model" / expected / "model.safetensors")
    assert torch.equal(found.embed.weight, saved["embed.weight"])
    assert found.source == f"{run / name}: {expected} (this package's run)" and not found.training


def test_a_part_that_is_not_there_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match=r"holds no 'teacher'; it holds \['encoder'\]"):
        load_encoder(str(run / "one"), "teacher")
