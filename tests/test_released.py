"""Released world models, saved as they are published, against their code's numbers (tests/golden/make_lewm.py …)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jepa_wm import WorldModel, load_world_model
from jepa_wm.errors import UserError
from tests.golden.formula import formula, matches, pixels, tensor

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "lewm.json").read_text())
UNITS = {"action_mean": [0.0, 0.0], "action_std": [1.0, 1.0], "action_bounds": ([-1.0, -1.0], [1.0, 1.0])}
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
    with pytest.raises(
        UserError, match=r"weights\.pt: its blocks of actions have 6 numbers; got an action_dim of None"
    ):
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
