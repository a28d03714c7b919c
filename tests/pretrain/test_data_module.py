"""The data of training: a mixture's statistics count each folder by its weight, and not by its size."""

from pathlib import Path

import numpy as np
import pytest
from torchvision.transforms.v2 import Resize

from jepa_wm.control.collect import collect
from jepa_wm.data import Shards
from jepa_wm.data.verbs.merge import merge
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest
from pretrain.data import ClipDataModule, _bounds


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("folders")
    collect(str(root / "walks"), episodes=30, steps=12, size=16, expert_fraction=0.0)
    collect(str(root / "expert"), episodes=10, steps=12, size=16, expert_fraction=1.0, seed=1)
    return [str(root / "walks"), str(root / "expert")]


def test_statistics_of_a_mixture(folders: list[str]) -> None:
    mixed = ClipDataModule(dict(zip(folders, (1.0, 3.0), strict=True)), frames=3, batch_size=8).statistics
    parts = [read_manifest(folder)["statistics"] for folder in folders]
    for name in ("action", "state"):
        means, stds = (np.array([part[f"{name}_{kind}"] for part in parts]) for kind in ("mean", "std"))
        mean = np.average(means, axis=0, weights=[1, 3])
        variance = np.average(stds**2 + (means - mean) ** 2, axis=0, weights=[1, 3])
        np.testing.assert_allclose(mixed[f"{name}_mean"], mean, rtol=1e-9)
        np.testing.assert_allclose(mixed[f"{name}_std"], np.sqrt(variance), rtol=1e-9)


def test_one_folder_has_its_own_statistics_and_says_what_it_gave(folders: list[str]) -> None:
    data = ClipDataModule(folders[0], frames=3, batch_size=8)
    statistics = read_manifest(folders[0])["statistics"]
    assert data.statistics["action_std"] == pytest.approx(statistics["action_std"])
    batches = list(data.train_dataloader())
    assert all(len(batch["pixels"]) == 8 for batch in batches)
    report = data.report()[folders[0]]
    assert report["train_samples"] == 2 * len(batches) and report["train_broken"] == {}


def test_each_folder_says_how_many_of_its_episodes_were_too_short(folders: list[str], tmp_path: Path) -> None:
    short, mixed = str(tmp_path / "short"), str(tmp_path / "mixed")
    collect(short, episodes=9, steps=8, size=16, expert_fraction=0.0, held_out=0.4)
    merge([folders[0], short], mixed)
    data = ClipDataModule({folders[1]: 1.0, mixed: 1.0}, frames=3, batch_size=4)  # of eleven frames each
    with pytest.warns(UserWarning, match="shorter than 11 frames"):
        data.train_dataloader(), data.val_dataloader()
    few = {split: len(Shards(short, split)) for split in ("train", "val")}
    told = {folder: {split: report[f"{split}_short"] for split in few} for folder, report in data.report().items()}
    assert few["train"] != few["val"] and told == {folders[1]: {"train": 0, "val": 0}, mixed: few}


@pytest.mark.parametrize(("transform", "side"), [(None, 16), (Resize(24), 24), (Resize((24, 32)), None)])
def test_the_side_of_the_pictures_that_a_model_is_shown_is_told(
    folders: list[str], transform: Resize | None, side: int | None
) -> None:
    assert ClipDataModule(folders[0], transform=transform).report()[folders[0]]["side"] == side


def test_the_bounds_of_a_mixture_hold_for_all_of_it(folders: list[str]) -> None:
    assert ClipDataModule(folders[0], frames=3, batch_size=8).statistics["action_bounds"] == ([-1.0] * 2, [1.0] * 2)
    box = {"type": "Box", "low": [-1.0, -2.0], "high": [1.0, None]}
    assert _bounds([box, {"type": "Discrete", "width": 2}]) == {"action_bounds": ([-1.0, -2.0], [1.0, None])}
    assert _bounds([{"type": "Discrete", "width": 2}]) == {"action_bounds": ([0.0, 0.0], [1.0, 1.0])}
    assert _bounds([box, None]) == {}


def test_folders_of_unlike_actions_make_no_mixture(folders: list[str], tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    collect(str(tmp_path / "other"), 4, 12, 16, "MountainCar-v0")
    data = ClipDataModule({folders[0]: 1.0, str(tmp_path / "other"): 1.0}, frames=3, batch_size=8)
    with pytest.raises(UserError, match="of one width"):
        _ = data.statistics
