"""Where `plan` plays: shards that were packed from another format, and pictures of another size than a model's."""

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from jepa_wm.checkpoint import save_modules
from jepa_wm.control.collect import collect
from jepa_wm.control.goals import Task
from jepa_wm.control.plan import plan
from jepa_wm.control.setting import Setting
from jepa_wm.data import EpisodeShards
from jepa_wm.data.importers import Hdf5
from jepa_wm.data.verbs.pack import pack
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.errors import UserError
from jepa_wm.manifest import write_manifest
from jepa_wm.planning import CEM
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

SEARCH = Search(CEM(8, 2, 1), horizon=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes as collected, and the same packed from a file in the layout of stable-worldmodel."""
    root = tmp_path_factory.mktemp("packed")
    collect(str(root / "collect"), episodes=8, steps=12, size=16, expert_fraction=1.0, held_out=0.5)
    episodes = [
        shards[number]
        for shards in (EpisodeShards(root / "collect", split) for split in ("train", "test"))
        for number in range(len(shards))
    ]
    last = np.full((1, 2), np.nan, np.float32)
    with h5py.File(root / "rooms.h5", "w") as file:
        file["pixels"] = np.concatenate([each.frames.transpose(0, 2, 3, 1) for each in episodes])
        file["state"] = np.concatenate([each.state for each in episodes])
        file["action"] = np.concatenate([np.concatenate([each.actions, last]) for each in episodes])
        file["ep_len"] = np.array([len(each.frames) for each in episodes])
        file["ep_offset"] = np.cumsum([0, *(len(each.frames) for each in episodes[:-1])])
    pack(Hdf5(str(root / "rooms.h5"), state=["state"]), str(root / "pack"), held_out=0.6, codec="png")
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(root / "goal.png")
    return root


def trained(run: Path, side: int | None, environment: str | None = None) -> str:
    """A run of forecast whose model was shown pictures of so many pixels a side."""
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    save_modules(run / "model", {"encoder": encoder, "dynamics": TransformerDynamics(6, trunk=Trunk(12, 1, 2))})
    write_manifest(run, "forecast", data={"shards": {"environment": environment, "side": side}})
    return str(run)


def planned(model: str, data: Path, out: Path, ahead: int | None = 4, **others: Any) -> dict[str, dict]:
    plan(model, str(data), str(out), SEARCH, 3, 0, 6, films=1, task=Task(ahead), **others)
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {row["policy"]: row for row in rows}


def test_what_was_packed_is_played_where_it_is_said_to_be_from(root: Path, tmp_path: Path) -> None:
    model = trained(tmp_path / "run", 32)
    rows = planned(model, root / "pack", tmp_path / "a", environment=TWO_ROOMS)
    assert rows["replay"]["success"] == 1 and rows["replay"]["episodes"] == 3 and "cem" in rows
    told = json.loads((tmp_path / "a" / "goals-image.json").read_text())
    assert told["environment"] == TWO_ROOMS and all("rooms-h5-" in name for name in told["episode"])


@pytest.mark.parametrize(("side", "seen"), [(32, 32), (None, 16)])
def test_what_is_seen_is_fitted_to_what_the_model_was_trained_on(
    root: Path, tmp_path: Path, side: int | None, seen: int
) -> None:
    model = trained(tmp_path / "run", side, TWO_ROOMS)
    with patch.object(WorldModel, "encode", autospec=True, side_effect=WorldModel.encode) as encode:
        planned(model, root / "collect", tmp_path / "a")
        plan(model, str(root / "collect"), str(tmp_path / "b"), SEARCH, steps=2, films=1, goal=str(root / "goal.png"))
    assert {tuple(call.args[1].shape[-2:]) for call in encode.call_args_list} == {(seen, seen)}


def test_the_shards_and_the_run_say_where_is_played(root: Path, tmp_path: Path) -> None:
    trained(tmp_path / "run", 32, TWO_ROOMS)
    assert Setting.of(str(tmp_path / "run"), str(root / "collect")) == Setting(TWO_ROOMS, 16, None, 32)
    assert Setting.of(str(tmp_path / "run"), str(root / "pack")) == Setting(None, 16, None, 32)


@pytest.mark.parametrize(
    ("data", "others", "said"),
    [
        ("pack", {}, "does not say in which world it was recorded; expected --environment"),
        ("pack", {"environment": TWO_ROOMS, "ahead": None}, "stage 'pack'; expected collect"),
        ("pack", {"environment": "Else-v0"}, "'Else-v0' cannot be made"),
        ("pack", {"environment": "swm/Else-v0"}, "'swm/Else-v0' cannot be made"),
        ("collect", {"environment": "jepa_wm/PushT-v0"}, f"expected --goal beside it, or {TWO_ROOMS}"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_is_written(
    root: Path, tmp_path: Path, data: str, others: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        planned(trained(tmp_path / "run", 32), root / data, tmp_path / "a", **others)
    assert not (tmp_path / "a" / "results.jsonl").exists()
