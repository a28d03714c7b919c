"""Raw checkpoints as published: the stored numbers of the references come out of what is loaded from them.

Weights are given by a formula from the references' names (see tests/golden); the files around them, with their
prefixes and their other parts, are written as the official code writes them.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from formula import fill, formula, matches, pixels
from torch import Tensor

from jepa_wm.encoders import Rope, SinCos, load_encoder
from jepa_wm.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden"


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def wrapped(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def checkpoint(path: Path, shapes: dict[str, dict], prefix: str, extra: dict[str, Tensor]) -> str:
    """A file as the official training loops write it."""
    parts = {part: wrapped(fill(shapes[part], f"{part}.") | extra, prefix) for part in ("encoder", "target_encoder")}
    predictor = wrapped(fill(shapes["predictor"], "predictor."), prefix)
    rest = {"opt": {"state": {}, "param_groups": [{"lr": 0.1}]}, "scaler": None, "epoch": 3, "loss": 0.5, "lr": 1e-3}
    torch.save(parts | {"predictor": predictor} | rest, path)
    return str(path)


@pytest.fixture
def ijepa(tmp_path: Path) -> str:
    table = SinCos(2).additive((1, 6, 6), 48)[None]
    return checkpoint(tmp_path / "ijepa.pth.tar", golden("ijepa")["parameters"], "module.", {"pos_embed": table})


@torch.no_grad()
def test_i_jepa(ijepa: str) -> None:
    data = golden("ijepa")
    vit = load_encoder(ijepa, "context", heads=4)
    images = data["inputs"]["images"]
    assert matches(data["numbers"]["encoder(images)"], vit(pixels(images["pixels"], images["shape"])), 1e-7)
    assert vit.source == "ijepa.pth.tar: encoder (I-JEPA layout)"
    assert vit.preprocessing.size == 48 and isinstance(vit.positions, SinCos)


@torch.no_grad()
def test_the_target_is_taken_unless_something_else_is_asked_for(ijepa: str, caplog: pytest.LogCaptureFixture) -> None:
    name = "blocks.0.attn.qkv.weight"
    with caplog.at_level("INFO", "jepa_wm"):
        found = load_encoder(ijepa, heads=4)
    assert "ijepa.pth.tar: target_encoder" in found.source and found.source in caplog.text
    assert torch.equal(found.get_parameter(name), formula(f"target_encoder.{name}", (144, 48)))
    for part in ("context", "encoder"):
        assert torch.equal(
            load_encoder(ijepa, part, heads=4).get_parameter(name), formula(f"encoder.{name}", (144, 48))
        )
    for part in ("target", "teacher", "target_encoder"):
        assert torch.equal(load_encoder(ijepa, part, heads=4).get_parameter(name), found.get_parameter(name))
    with pytest.raises(UserError, match=r"holds no 'ema' weights; it holds encoder, target_encoder, predictor, opt"):
        load_encoder(ijepa, "ema", heads=4)


def test_a_width_that_was_not_published_needs_its_number_of_heads(ijepa: str) -> None:
    with pytest.raises(UserError, match=r"heads=…"):
        load_encoder(ijepa)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.backbone.", "visual.trunk."])
@torch.no_grad()
def test_wrappers_leave_no_trace(prefix: str, tmp_path: Path) -> None:
    state = fill(golden("ijepa")["parameters"]["encoder"], "encoder.")
    state["pos_embed"] = SinCos(2).additive((1, 6, 6), 48)[None]
    state = {name.replace("blocks.1.", "blocks.1._orig_mod."): value for name, value in state.items()}
    other = {"text.token_embedding.weight": torch.zeros(3, 3)} if prefix == "visual.trunk." else {}
    torch.save({"state_dict": wrapped(state, prefix) | other}, tmp_path / "weights.pt")
    vit = load_encoder(str(tmp_path / "weights.pt"), heads=4)
    images = golden("ijepa")["inputs"]["images"]
    found = vit(pixels(images["pixels"], images["shape"]))
    assert matches(golden("ijepa")["numbers"]["encoder(images)"], found, 1e-7)
    assert vit.source == "weights.pt: state_dict (I-JEPA layout)"


@torch.no_grad()
def test_v_jepa_1(tmp_path: Path) -> None:
    data = golden("jepa")
    table = SinCos(3).additive((4, 6, 6), 48)[None]
    path = checkpoint(tmp_path / "vitl16.pth.tar", data["parameters"], "module.backbone.", {"pos_embed": table})
    vit, clips = load_encoder(path, "context", heads=4), data["inputs"]["clips"]
    found = vit(pixels(clips["pixels"], clips["shape"]).transpose(1, 2))
    assert matches(data["numbers"]["encoder(clips)"], found, 1e-7)
    assert vit.tubelet == 2 and vit.preprocessing.size == 48


@pytest.mark.parametrize("unused", [False, True])
@torch.no_grad()
def test_v_jepa_2(unused: bool, tmp_path: Path) -> None:
    """Its released files still carry a table of positions, which must not be believed."""
    data = golden("vjepa2")
    table = {"pos_embed": torch.randn(1, 32 * 16 * 16, 48)} if unused else {}
    vit = load_encoder(
        checkpoint(tmp_path / "vitl.pt", data["parameters"], "module.backbone.", table), "context", heads=4
    )
    assert isinstance(vit.positions, Rope) and vit.positions.tiled and vit.preprocessing.size == 256
    for name, key in (("clips", "encoder(clips)"), ("short", "encoder(short)")):
        given = data["inputs"][name]
        found = vit(pixels(given["pixels"], given["shape"]).transpose(1, 2))
        assert matches(data["numbers"][key], found, 1e-6)
    still = data["inputs"]["image"]
    assert matches(data["numbers"]["encoder(still)"], vit(pixels(still["pixels"], still["shape"])), 1e-6)


def test_a_table_that_is_no_ones_is_refused(tmp_path: Path) -> None:
    table = {"pos_embed": torch.randn(1, 144, 48)}
    path = checkpoint(tmp_path / "vitl.pt", golden("vjepa2")["parameters"], "module.backbone.", table)
    with pytest.raises(UserError, match="not V-JEPA 1's table"):
        load_encoder(path, heads=4)
    table = {"pos_embed": torch.randn(1, 36, 48)}
    path = checkpoint(tmp_path / "other.pt", golden("ijepa")["parameters"], "", table)
    with pytest.raises(UserError, match="timm:NAME@FILE"):
        load_encoder(path, heads=4)


def test_published_widths_know_their_heads(tmp_path: Path) -> None:
    """V-JEPA 2's giant has 22 heads, and I-JEPA's 16, at the same width."""
    for name, kernel, table, heads in (
        ("ijepa", (1408, 3, 2, 2), SinCos(2).additive((1, 2, 2), 1408), 16),
        ("vjepa1", (1408, 3, 2, 2, 2), SinCos(3).additive((2, 2, 2), 1408), 16),
        ("vjepa2", (1408, 3, 2, 2, 2), None, 22),
    ):
        state = block_of(1408, 16) | {"patch_embed.proj.weight": torch.zeros(kernel)}
        torch.save(state | ({} if table is None else {"pos_embed": table[None]}), tmp_path / name)
        assert load_encoder(str(tmp_path / name)).heads == heads


def block_of(dim: int, hidden: int) -> dict[str, Tensor]:
    """The tensors of an encoder of one block, all nought."""
    shapes = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden)}
    weights = {f"blocks.0.{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    biases = {f"blocks.0.{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    norms = ("norm", "blocks.0.norm1", "blocks.0.norm2")
    scales = {f"{name}.{kind}": torch.zeros(dim) for name in norms for kind in ("weight", "bias")}
    return weights | biases | scales | {"patch_embed.proj.bias": torch.zeros(dim)}


class Evil:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", ["pt", "pth.tar", "safetensors"])
def test_what_would_run_code_is_never_unpickled(suffix: str, tmp_path: Path) -> None:
    path, run = tmp_path / f"evil.{suffix}", tmp_path / "run"
    for content in (Evil(run), {"encoder": Evil(run)}):
        for write in (lambda x: path.write_bytes(pickle.dumps(x)), lambda x: torch.save(x, path)):
            write(content)
            with pytest.raises(UserError, match="evil"):
                load_encoder(str(path))
            assert not run.exists()
    pickle.loads(pickle.dumps(Evil(run)))
    assert run.exists()


def test_old_files_that_are_no_archives_are_read(tmp_path: Path) -> None:
    state = block_of(192, 16) | {"patch_embed.proj.weight": torch.zeros(192, 3, 2, 2, 2)}
    torch.save({"encoder": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert load_encoder(str(tmp_path / "old.pth")).source == "old.pth: encoder (V-JEPA layout)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.pt", "is no file or folder; expected one, or timm:NAME, open_clip:NAME, hf:NAME"),
        ("tim:vit", "did you mean 'timm:'"),
        ("timm:", "lacks a name"),
        ("hf:", "lacks a name"),
        ("{folder}/empty.pt", "empty.pt is empty; expected a file of weights"),
        ("{folder}/text.pt", "is not a file of weights|no file of weights"),
        ("{folder}/tensor.pt", "holds a Tensor; expected a dict"),
        (
            "{folder}/other.pt",
            r"no layout of DINOv2, DINOv3, I-JEPA, SigLIP, ViT, V-JEPA recognises: conv\.weight \(1, 2\)",
        ),
        ("{folder}/several.pt", "holds no 'target' weights; it holds one, two"),
    ],
)
def test_what_is_not_an_encoder_is_refused_with_what_it_is(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").touch()
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    torch.save({"conv.weight": torch.zeros(1, 2)}, tmp_path / "other.pt")
    torch.save({name: {"weight": torch.zeros(1)} for name in ("one", "two")}, tmp_path / "several.pt")
    with pytest.raises(UserError, match=message):
        load_encoder(source.format(folder=tmp_path))
