"""This package's own runs: which of encoder and teacher is taken, and what is said of it."""

from pathlib import Path

import pytest
import torch

from jepa_wm.checkpoint import save_modules
from jepa_wm.encoders import Preprocessing, ViT, load_encoder
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


@torch.no_grad()
def test_other_colours_than_it_was_made_for(run: Path) -> None:
    pixels = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    own = load_encoder(str(run / "one"))
    halves = load_encoder(str(run / "one"), preprocessing=Preprocessing(32, mean=(0.5,) * 3, std=(0.5,) * 3))
    assert halves.preprocessing(pixels).shape[-1] == 32
    # White is 1 there, and what is 1 here is this much of white.
    colours = (0.485 + 0.229, 0.456 + 0.224, 0.406 + 0.225)
    same = torch.tensor(colours).mul(255).round().to(torch.uint8)[:, None, None].expand(3, 16, 16)[None]
    white = torch.full_like(pixels, 255)
    torch.testing.assert_close(halves(white), own(same), rtol=0.02, atol=0.02)
