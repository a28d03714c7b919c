"""Released world models, saved as they are published, against their code's numbers (tests/golden/make_lewm.py …)."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jepa_wm import WorldModel, load_world_model
from jepa_wm.dynamics.layouts import layouts
from jepa_wm.encoders import Preprocessing, ViT
from jepa_wm.encoders.layouts import the_one, title
from jepa_wm.encoders.pickled import read_tensors
from jepa_wm.encoders.weights import read_weights
from jepa_wm.errors import UserError
from tests.golden.formula import formula, matches, pixels, tensor

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "lewm.json").read_text())
DINO: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "dino_wm.json").read_text())
UNITS = {"action_mean": [0.0, 0.0], "action_std": [1.0, 1.0], "action_bounds": ([-1.0, -1.0], [1.0, 1.0])}
STATISTICS = UNITS | {"state_mean": [2.0] * 3, "state_std": [3.0] * 3}
OLD = (
    (r"^encoder\.layers\.", "encoder.encoder.layer."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
"""transformers before 5, which the released checkpoints were saved with."""


def lewm() -> dict[str, Tensor]:
    made = {name: formula(name, shape) for name, shape in GOLDEN["shapes"].items()}
    made |= {name: 1 + value for name, value in made.items() if name.endswith("running_var")}
    counts = {f"{part}.net.1.num_batches_tracked": torch.tensor(3) for part in ("projector", "pred_proj")}
    return {name: value.float() for name, value in made.items()} | counts


def published(folder: Path, state: Any) -> Path:
    torch.save(state, folder / "weights.pt")
    (folder / "config.json").write_text(json.dumps(GOLDEN["config"]))
    return folder


@torch.no_grad()
def check(model: WorldModel) -> None:
    for side in (16, 24):
        seen = pixels(f"lewm.pixels{side}", (4, 3, side, side)).unflatten(0, (2, 2))
        assert matches(GOLDEN[f"encoded{side}"], model.encode(seen)[:, :, 0], 1e-5)
    taken = tensor("lewm.pixels.taken", (2, 1, 6, 6))[:, 0].float()
    imagined = model.imagine(seen, taken[:, 1:], taken[:, :1]).latents
    assert matches(GOLDEN["imagined"], imagined[:, :, 0], 1e-5)


def test_lewm_encodes_and_imagines_as_published(tmp_path: Path) -> None:
    model = load_world_model(published(tmp_path, lewm()), action_dim=2, statistics=UNITS)
    assert not model.training and model.dynamics.frame_skip == 3
    check(model)
    assert model.encoder.preprocessing(torch.zeros(3, 30, 40, dtype=torch.uint8)).shape == (3, 16, 16)


def test_lewm_of_an_older_transformers_in_a_training_checkpoint(tmp_path: Path) -> None:
    old = lewm()
    for pattern, name in OLD:
        old = {re.sub(pattern, name, key): value for key, value in old.items()}
    wrapped = {"state_dict": {f"model._orig_mod.{name}": value for name, value in old.items()}, "epoch": 3}
    model = load_world_model(published(tmp_path, wrapped) / "weights.pt", action_dim=2, statistics=UNITS)
    check(model)


def test_it_is_saved_and_loaded_as_one_of_ours(tmp_path: Path) -> None:
    own = tmp_path / "own"
    load_world_model(published(tmp_path, lewm()), action_dim=2, statistics=UNITS).save_pretrained(own)
    check(load_world_model(own))
    with pytest.raises(UserError, match="says all of itself"):
        load_world_model(own, action_dim=2)


def test_actions_are_normalised_by_what_is_said(tmp_path: Path) -> None:
    folder = published(tmp_path, lewm())
    plain = load_world_model(folder, action_dim=2)
    shifted = load_world_model(folder, action_dim=2, statistics={"action_mean": [3.0, 5.0], "action_std": [2.0, 4.0]})
    assert plain.bounds.high.tolist() == [3.0, 3.0] and shifted.bounds.low.tolist() == [-3.0, -7.0]
    seen, actions = pixels("seen", (1, 3, 16, 16)), tensor("actions", (1, 2, 3, 2)).float()
    one = plain.imagine(seen, actions.flatten(2)).latents
    other = shifted.imagine(seen, (actions * torch.tensor([2.0, 4.0]) + torch.tensor([3.0, 5.0])).flatten(2)).latents
    torch.testing.assert_close(one, other)


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    folder = published(tmp_path, lewm())
    with pytest.raises(UserError, match=r"weights\.pt: its blocks of actions have 6 numbers; got .* of None"):
        load_world_model(folder)
    with pytest.raises(UserError, match=r"no layout of .*LeWM.* recognises: a \(1,\)"):
        load_world_model(published(tmp_path, {"a": torch.zeros(1)}))
    less = {name: value for name, value in lewm().items() if "layers.1.attention.q" not in name}
    with pytest.raises(UserError, match=r"blocks\.1\.attn\.q"):
        load_world_model(published(tmp_path, less), action_dim=2)
    less = {name: value for name, value in lewm().items() if "layers.1.attention.k" not in name}
    with pytest.raises(UserError, match=r"weights\.pt: 'blocks\.1\.attn\.k\.weight' is missing"):
        load_world_model(published(tmp_path, less), action_dim=2)
    torch.save({}, folder / "other.pt")
    (folder / "weights.pt").rename(folder / "more.pt")
    with pytest.raises(UserError, match=r"holds more\.pt, other\.pt; expected one file"):
        load_world_model(folder)
    with pytest.raises(UserError, match="is no file or folder"):
        load_world_model(tmp_path / "nothing")


def test_what_does_not_apply_is_refused(tmp_path: Path) -> None:
    folder = published(tmp_path, lewm())
    with pytest.raises(UserError, match=r"weights\.pt: it has an encoder of its own; got encoder=dinov2\.pth"):
        load_world_model(folder, action_dim=2, encoder="dinov2.pth")
    with pytest.raises(UserError, match="got encoder=a ViT, expected none"):
        load_world_model(folder, action_dim=2, encoder=vit())
    for name in ("action_dim", "heads", "size"):
        for number in (0, -1):
            with pytest.raises(UserError, match=f"got {name} {number}; expected 1 or more"):
                load_world_model(folder, **{name: number})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            GOLDEN["config"] | {"encoder": "vit_tiny"},
            r'weights\.pt: "encoder" in the config\.json beside it is .vit_tiny.; expected an',
        ),
        (GOLDEN["config"] | {"predictor": None}, r'"predictor" in the config\.json beside it is None; expected an'),
        (["vit_tiny"], r"config\.json holds \['vit_tiny'\]; expected an object"),
    ],
)
def test_a_config_of_another_kind_is_refused(tmp_path: Path, config: Any, said: str) -> None:
    folder = published(tmp_path, lewm())
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=said):
        load_world_model(folder, action_dim=2)


def test_heads_that_nobody_tells_have_the_published_channels_and_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def of(channels: int, heads: int | None = None) -> Any:
        wide = {"to_qkv.weight": (3 * channels, 8), "to_out.0.weight": (8, channels)}
        state = lewm()
        for name in state:
            if shape := next((shape for end, shape in wide.items() if name.endswith(end)), None):
                state[name] = formula(name, shape).float()
        (published(tmp_path, state) / "config.json").write_text(json.dumps({"encoder": GOLDEN["config"]["encoder"]}))
        return load_world_model(tmp_path, action_dim=2, heads=heads).dynamics

    assert (of(192).heads, of(192).head_dim) == (3, 64) and "3 heads of 64 channels (as published" in caplog.text
    assert of(192, heads=2).head_dim == 96 and "2 heads of 96 channels (as told)" in caplog.text
    for channels, heads, got in ((160, None, "no"), (192, 5, "5")):
        with pytest.raises(UserError, match=f"attention has {channels} channels; got {got} heads, expected a divisor"):
            of(channels, heads)


def dino_wm() -> dict[str, dict[str, Tensor]]:
    """State dicts by part; positions as of the four tokens of a picture of 8 pixels."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, shape in DINO["shapes"].items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = formula(name, shape).float()
    return parts


def vit() -> ViT:
    torch.manual_seed(0)
    return ViT(patch=4, dim=8, depth=1, heads=2).eval()


@torch.no_grad()
def test_dino_wm_is_predictor_state_and_a_given_encoder(tmp_path: Path) -> None:
    torch.save(dino_wm() | {"epoch": 2}, tmp_path / "model_latest.pth")
    torch.save({}, tmp_path / "model_1.pth")
    model = load_world_model(tmp_path, action_dim=2, heads=2, size=8, encoder=vit(), statistics=STATISTICS)
    assert model.dynamics.window == 3
    plain, seen, state = vit(), pixels("dino.seen", (2, 2, 3, 8, 8)), tensor("dino.state", (2, 2, 3)).float()
    latents = model.encode(seen, state)
    # Colours from -1 to 1, and not ImageNet's.
    plain.expect(Preprocessing(8, mean=(0.5,) * 3, std=(0.5,) * 3))
    torch.testing.assert_close(latents[..., :8], plain(seen.flatten(0, 1)).unflatten(0, (2, 2)))
    kernel, bias = (dino_wm()["proprio_encoder"][f"patch_embed.{kind}"] for kind in ("weight", "bias"))
    felt = (state - 2.0) / 3.0 @ kernel[:, :, 0].T + bias
    torch.testing.assert_close(latents[..., 8:], felt[:, :, None].expand(-1, -1, 4, -1))
    model.save_pretrained(tmp_path / "own")
    actions = tensor("dino.actions", (2, 5, 6)).float()
    one, other = (
        found.imagine(seen, actions[:, 1:], actions[:, :1], state)
        for found in (model, load_world_model(tmp_path / "own"))
    )
    torch.testing.assert_close(one.latents, other.latents)


def test_dino_wm_needs_an_encoder_that_fits(tmp_path: Path) -> None:
    torch.save(dino_wm(), tmp_path / "weights.pt")
    with pytest.raises(UserError, match="tokens of width 8; got none for an encoder"):
        load_world_model(tmp_path, action_dim=2, heads=2, size=8)
    with pytest.raises(UserError, match="got a ViT of width 12"):
        load_world_model(tmp_path, action_dim=2, heads=2, size=8, encoder=ViT(patch=4, dim=12, depth=1, heads=2))


class Module(torch.nn.Module):
    """Some module, pickled whole; the class is gone when the file is read."""


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.path)!r}, 'w')",)


def module(state: dict[str, Tensor]) -> torch.nn.Module:
    """A tree of modules with these weights."""
    made = Module()
    for name, value in state.items():
        inner, parts = made, name.split(".")
        for part in parts[:-1]:
            if part not in dict(inner.named_children()):
                inner.add_module(part, Module())
            inner = inner.get_submodule(part)
        inner.register_parameter(parts[-1], torch.nn.Parameter(value))
    return made


def test_tensors_are_taken_out_of_pickled_modules_and_nothing_is_run(tmp_path: Path) -> None:
    parts: dict[str, Any] = {name: module(state) for name, state in dino_wm().items()}
    optimizer = torch.optim.AdamW(parts["predictor"].parameters())
    sum(parameter.sum() for parameter in parts["predictor"].parameters()).backward()
    optimizer.step()
    whole = parts | {
        "predictor_optimizer": optimizer,
        "epoch": 3,
        "bare": object(),
        "more": [Trap(tmp_path / "run"), defaultdict(list)],
    }
    torch.save(whole, tmp_path / "model.pth")
    wanted = {f"{part}.{name}": value for part, inner in parts.items() for name, value in inner.state_dict().items()}
    found = read_tensors(tmp_path / "model.pth")
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in found)
    assert not (tmp_path / "run").exists()
    assert load_world_model(tmp_path, action_dim=2, heads=2, size=8, encoder=vit()).dynamics.frame_skip == 3
    with pytest.raises(UserError, match="could run code"):  # what is allowed there is allowed nowhere else
        read_weights(tmp_path / "model.pth")
    (tmp_path / "model.pth").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(UserError, match="is not a file of weights"):
        read_tensors(tmp_path / "model.pth")


def test_weights_that_several_layouts_recognise_are_no_ones() -> None:
    one, other = layouts()[:2]
    state = {"some.name": torch.zeros(3, 2)}
    assert the_one([other], [one, other], "it holds weights that", state) is other
    both = f"it holds several layouts of {title(one)}, {title(other)} recognise: some.name (3, 2) … hint"
    with pytest.raises(UserError, match=f"^{re.escape(both)}$"):
        the_one([one, other], layouts(), "it holds", state, " hint")
    with pytest.raises(UserError, match=r"that no layout of .* recognises: no tensors at all …$"):
        the_one([], layouts(), "it holds weights that", {})
