"""What each importer makes of files whose contents are known."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
import torchvision

from jepa_wm.data import importers
from jepa_wm.data.images import captions_of, decode_image
from jepa_wm.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def check_episodes(source, sources, reward=slice(None, -1), ends=(True, False, True)):
    """Frame t of episode e is grey 20 t + e; its state (e, t, .5), its action (t, -t); the last action is dropped."""
    assert len(source) == 3
    for number in range(3):
        episode, expected = source[number], sources.episode_arrays(number)
        steps = np.arange(len(episode.reward))
        np.testing.assert_array_equal(episode.frames.transpose(0, 2, 3, 1), expected["pixels"])
        np.testing.assert_array_equal(episode.actions, expected["action"][:-1])
        np.testing.assert_array_equal(episode.state, expected["state"])
        np.testing.assert_array_equal(episode.reward, expected["reward"][reward] if reward else 0.0 * steps)
        assert episode.terminated is ends[number]


def test_trajectories(make_source, sources):
    check_episodes(make_source("npz"), sources)


def test_rewards_of_stable_worldmodel_came_with_their_frame(make_source, sources):
    check_episodes(make_source("hdf5"), sources, reward=slice(1, None))


def test_dino_wm(make_source, sources):
    check_episodes(make_source("dino_wm"), sources, reward=None, ends=(None, None, None))


def test_an_end_is_a_flag_of_each_action_or_one_of_all(tmp_path):
    arrays = {"pixels": np.zeros((3, 8, 8, 3), np.uint8), "action": np.zeros((3, 2))}
    flags = {True: ([True], [False, True], [False, True, False], True), False: ([[False]], [True, False])}
    for wanted, given in flags.items():
        for number, each in enumerate(given):
            np.savez(tmp_path / f"{wanted}{number}.npz", **arrays, terminated=each)
    found = importers.NpzFolder(str(tmp_path))
    assert [found[i].terminated for i in range(len(found))] == [False] * 2 + [True] * 4
    np.savez(tmp_path / "False0.npz", **arrays, terminated=[True] * 5)
    with pytest.raises(UserError, match=r"False0.npz: it has 5 flags of its end for 3 frames; expected 2 or 3"):
        found[0]


def test_dino_wm_with_videos_and_walls(tmp_path, sources):
    (tmp_path / "obses").mkdir()
    for number in range(2):
        sources.film(
            tmp_path / "obses" / f"episode_{number:03d}.mp4", np.stack([sources.grey(30 * t, 32, 32) for t in range(6)])
        )
    for name, width in (("states", 2), ("actions", 2), ("door_locations", 1), ("wall_locations", 1)):
        torch.save(torch.arange(2 * 6 * width).reshape(2, 6, width).float(), tmp_path / f"{name}.pth")
    episode = importers.DinoWm(str(tmp_path))[1]
    assert [round(frame.mean() / 30) for frame in episode.frames] == list(range(6))
    assert episode.factors == {"door_location": [6.0], "wall_location": [6.0]}
    assert episode.actions[0].tolist() == [12.0, 13.0]


class Exploit:
    def __reduce__(self):
        return exec, ("raise SystemExit('run')",)


@pytest.mark.parametrize("name", ["states.pth", "rel_actions.pth", "seq_lengths.pkl", "obses/episode_001.pth"])
def test_dino_wm_runs_no_pickle(make_source, tmp_path, name):
    make_source("dino_wm")
    (tmp_path / "source" / name).write_bytes(pickle.dumps([Exploit()]))
    with pytest.raises(UserError, match=name.rpartition("/")[2]):
        importers.dino_wm._tensor.cache_clear()
        importers.DinoWm(str(tmp_path / "source"), action="rel_actions.pth")[1]


def test_npz_runs_no_pickle(tmp_path):
    np.savez(tmp_path / "a.npz", pixels=np.array([Exploit()], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"a\.npz"):
        importers.NpzFolder(str(tmp_path))[0]


def test_columns_that_are_missing_are_named(make_source, tmp_path):
    make_source("hdf5")
    with pytest.raises(UserError, match=r"no \['picture'\]; it has \['action'"):
        importers.Hdf5(str(tmp_path / "source" / "data.h5"), pixels="picture")
    make_source("npz")
    with pytest.raises(UserError, match=r"no \['acts'\]; it has \['action', 'pixels'"):
        importers.NpzFolder(str(tmp_path / "source"), action="acts")[0]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_lerobot(tmp_path, sources, version):
    source = sources.lerobot(tmp_path / version, version)
    assert len(source) == 3
    for number in range(3):
        episode = source[number]
        steps = np.arange(8 + number, dtype=np.float32)
        np.testing.assert_allclose(episode.frames.mean(axis=(1, 2, 3)), 8 * steps + 60 * number, atol=2.5)
        np.testing.assert_array_equal(episode.state, np.stack([np.full_like(steps, number), steps], axis=1))
        np.testing.assert_array_equal(episode.actions, np.stack([steps, -steps], axis=1)[:-1])
        assert episode.captions == [f"do {number % 2}"] * len(steps) and episode.frames.shape[1:] == (3, 48, 64)


def test_lerobot_of_another_format(tmp_path, sources):
    sources.lerobot(tmp_path / "a")
    info = json.loads((tmp_path / "a/meta/info.json").read_text())
    (tmp_path / "a/meta/info.json").write_text(json.dumps(info | {"codebase_version": "v9.0"}))
    with pytest.raises(UserError, match=r"format v9\.0"):
        importers.LeRobot(str(tmp_path / "a"))
    (tmp_path / "a/meta/info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=r"no feature \['side'\]"):
        importers.LeRobot(str(tmp_path / "a"), camera="side")


def test_minari(make_source, sources):
    source = make_source("minari")
    for number in range(3):
        episode, expected = source[number], sources.episode_arrays(number)
        np.testing.assert_array_equal(episode.frames.transpose(0, 2, 3, 1), expected["pixels"])
        np.testing.assert_array_equal(episode.state, expected["state"])
        np.testing.assert_array_equal(episode.reward, expected["reward"][:-1])
        np.testing.assert_array_equal(episode.actions, np.eye(3)[np.arange(len(expected["pixels"]) - 1) % 3])
        assert episode.terminated == (number != 1)


def test_image_folder_keeps_what_readers_know(make_source, tmp_path):
    source = make_source("image_folder")
    for number in range(9):
        item = source[number]
        about = json.loads(item.members["json"])
        assert item.members["cls"] == (b"0" if number < 5 else b"1") and about["class"] == (
            "cat" if number < 5 else "dog"
        )
        suffix = about["path"].rpartition(".")[2]
        member = {"jpeg": "jpg", "bmp": "png"}.get(suffix, suffix)
        if suffix != "bmp":
            assert item.members[member] == (tmp_path / "source" / about["path"]).read_bytes()
        value = int(about["path"].rpartition("/")[2][0]) * 20
        assert abs(decode_image(item.members).astype(int) - value).max() <= 2


def test_tables(make_source, tmp_path, sources):
    parquet = make_source("table")
    (tmp_path / "images").mkdir()
    for name, separator in (("a.csv", ","), ("a.tsv", "\t")):
        lines = [separator.join(("file", "text", "score"))]
        for number in range(7):
            (tmp_path / "images" / f"{number}.png").write_bytes(sources.file_of(sources.grey(20 * number), "png"))
            lines.append(separator.join((f"images/{number}.png", f'"caption {number}: ö"', str(number / 2))))
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    csv, tsv = (importers.Table(str(tmp_path / name), image="file", caption="text") for name in ("a.csv", "a.tsv"))
    for number in (6, 0, 3, 2):
        for table in (parquet, csv, tsv):
            members = table[number].members
            assert members["txt"].decode() == f"caption {number}: ö"
            assert (decode_image(members) == 20 * number).all()
            assert float(json.loads(members["json"])["score"]) == number / 2
    with pytest.raises(UserError, match=r"no column \['image', 'caption'\]; it has \['file'"):
        importers.Table(str(tmp_path / "a.csv"))


def test_a_column_of_a_table_may_be_the_class(tmp_path, sources):
    for name in "abcdefgh":
        (tmp_path / f"{name}.png").write_bytes(sources.file_of(sources.grey(0), "png"))
    labels = (",3", ", 0", ",", ",cat", ",-1", ",²", "", ", ")
    rows = [f"{name}.png,x{label}\n" for name, label in zip("abcdefgh", labels, strict=True)]
    (tmp_path / "a.csv").write_text("image,caption,kind\n" + "".join(rows), "utf-8")
    source = importers.Table(str(tmp_path / "a.csv"), label="kind")
    assert [source[number].members.get("cls") for number in (0, 1, 2, 6, 7)] == [b"3", b"0", None, None, None]
    assert "kind" not in json.loads(source[0].members["json"])
    for number, label in ((3, "cat"), (4, "-1"), (5, "²")):
        with pytest.raises(UserError, match=f"row {number} of .* has the label '{label}'; expected a whole number"):
            source[number]
    assert "cls" not in importers.Table(str(tmp_path / "a.csv"))[0].members
    with pytest.raises(UserError, match=r"no column \['breed'\]"):
        importers.Table(str(tmp_path / "a.csv"), label="breed")


@pytest.mark.parametrize("kind", ["csv", "parquet", "large.parquet"])
def test_rows_that_name_one_file_are_one_image_with_several_captions(tmp_path, sources, kind):
    for number, name in enumerate("ab"):
        (tmp_path / f"{name}.png").write_bytes(sources.file_of(sources.grey(20 * number), "png"))
    rows = {
        "image": ["a.png", "b.png", "./a.png", "b.png", "a.png", "a.png"],
        "caption": ["one", "three", "two", "five", "", "four"],
        "label": ["7", "1", "7", "2", "7", "7"],
        "by": ["me", "you", "her", "him", "us", "them"],
    }
    path = str(tmp_path / f"t.{kind}")
    if kind == "csv":
        Path(path).write_text("\n".join(map(",".join, [list(rows), *zip(*rows.values(), strict=True)])))
    else:
        text = pyarrow.large_string() if kind.startswith("large") else pyarrow.string()
        table = pyarrow.table({name: pyarrow.array(values, text) for name, values in rows.items()})
        pyarrow.parquet.write_table(table, path, row_group_size=2)
    source = importers.Table(path)
    assert len(source) == 2
    for number, captions in enumerate((["one", "two", "four"], ["three", "five"])):
        item = source[number]
        assert captions_of(item.members) == captions and (decode_image(item.members) == 20 * number).all()
    assert [json.loads(source[number].members["json"])["by"] for number in range(2)] == ["me", "you"]
    labelled = importers.Table(path, label="label")
    assert labelled[0].members["cls"] == b"7"
    with pytest.raises(UserError, match=r"row 1 of .* and others of its image have the labels \[1, 2\]; expected one"):
        labelled[1]


def test_a_table_cannot_name_files_elsewhere(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.csv").write_text("image,caption\n../secret.png,x\nmissing.png,y\n")
    source = importers.Table(str(tmp_path / "below" / "a.csv"))
    with pytest.raises(UserError, match="outside of"):
        source[0]
    with pytest.raises(UserError, match=r"missing\.png cannot be read: No such file"):
        source[1]


def test_video_folder(make_source):
    source = make_source("video_folder")
    items = [source[number].members for number in range(3)]
    about = [json.loads(members["json"]) for members in items]
    assert [(a["frames"], a["height"], a["width"], a["fps"]) for a in about] == [
        (6, 32, 48, 10),
        (7, 32, 48, 10),
        (8, 32, 48, 10),
    ]
    assert [members["cls"] for members in items] == [b"0", b"1", b"1"]
    assert items[0]["txt"] == b"somebody runs" and "txt" not in items[1]


def test_torchvision_datasets(make_source):
    source = make_source("torchvision_dataset")
    for number in range(9):
        members = source[number].members
        assert members["cls"] == b"%d" % number and (decode_image(members) == 20 * number).all()
    fake = torchvision.datasets.FakeData(4, (3, 12, 10))
    assert (decode_image(importers.TorchvisionDataset(fake)[2].members) == np.asarray(fake[2][0])).all()


class Pairs(torch.utils.data.Dataset):
    """Pictures as tensors, with sentences and dictionaries for targets."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        picture = torch.full((3, 4, 5), 20 * index, dtype=torch.uint8)
        return [(picture, "a sentence"), (picture, {"box": torch.tensor([1, 2])}), (picture.float(), 0)][index]


def test_datasets_of_other_targets():
    source = importers.TorchvisionDataset(Pairs())
    assert source[0].members["txt"] == b"a sentence" and decode_image(source[0].members).shape == (4, 5, 3)
    assert json.loads(source[1].members["json"]) == {"target": {"box": [1, 2]}}
    with pytest.raises(UserError, match=r"float32 .* transforms"):
        source[2]
