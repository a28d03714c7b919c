"""pack, split and merge: the same bytes whatever the workers and the interruptions, nothing lost, nothing half done."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from itertools import chain

import numpy as np
import pytest

from jepa_wm.cli import main
from jepa_wm.data import EpisodeShards, Images, Loader, Shards, importers
from jepa_wm.data.verbs.merge import merge
from jepa_wm.data.verbs.pack import pack
from jepa_wm.data.verbs.split import split
from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.manifest import read_manifest


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


def labels(folder, name="train"):
    return [int(batch["labels"][0]) for batch in Loader(Images(Shards(folder, name)), 1, shuffle=False)]


def test_all_samples_once_mixed_and_split(numbers, tmp_path):
    pack(numbers(50), str(tmp_path / "out"), held_out=0.2, samples_per_shard=9)
    found = {name: labels(tmp_path / "out", name) for name in ("train", "val", "test")}
    assert [len(found[name]) for name in found] == [40, 5, 5]
    assert sorted(chain(*found.values())) == list(range(50)) and found["train"] != sorted(found["train"])
    manifest = read_manifest(tmp_path / "out", "pack")
    shards = manifest["splits"]["train"]["shards"]
    assert [shard["samples"] for shard in shards] == [9, 9, 9, 9, 4]
    assert {shard["name"]: shard["sha256"] for shard in shards}.items() <= digests(tmp_path / "out").items()
    assert manifest["members"] == {"cls": 50, "json": 50, "png": 50} and manifest["frame_shape"] == [3, 4, 4]
    assert manifest["kind"] == "images" and manifest["config"]["source"]["class"] == "Numbers"
    assert not list(tmp_path.glob(".*")) and not list((tmp_path / "out").glob("*.json.*"))


def test_workers_do_not_change_the_bytes_and_the_seed_does(sources, tmp_path):
    source = sources.image_folder(tmp_path / "source")
    for name, workers, seed in (("a", 1, 0), ("b", 2, 0), ("c", 1, 1)):
        pack(source, str(tmp_path / name), held_out=0, samples_per_shard=2, workers=workers, seed=seed)
    assert digests(tmp_path / "a") == digests(tmp_path / "b") != digests(tmp_path / "c")
    assert read_manifest(tmp_path / "a")["data_hash"] == read_manifest(tmp_path / "b")["data_hash"]


def test_samples_that_cannot_be_read_are_listed(numbers, tmp_path):
    pack(numbers(200, [3, 77]), str(tmp_path / "out"), held_out=0, samples_per_shard=50)
    skipped = read_manifest(tmp_path / "out")["skipped"]
    assert sorted(skip["index"] for skip in skipped) == [3, 77] and "picture 3 is torn" in str(skipped)
    assert sorted(labels(tmp_path / "out")) == [number for number in range(200) if number not in (3, 77)]


def test_too_many_stop_with_the_list_and_a_shard_may_be_empty(numbers, tmp_path):
    with pytest.raises(UserError, match=r"3 of 200 .* picture \d+ is torn.*; .*picture"):
        pack(numbers(200, [3, 4, 77]), str(tmp_path / "out"), held_out=0)
    assert not (tmp_path / "out").exists()
    for share in (1.5, -0.1, float("nan")):
        with pytest.raises(UserError, match=rf"max_skipped is {share}; expected a share, 0 to 1"):
            pack(numbers(5, []), str(tmp_path / "few"), held_out=0, max_skipped=share)
    pack(numbers(5, [0, 1, 2]), str(tmp_path / "few"), held_out=0, samples_per_shard=1, max_skipped=1)
    assert sorted(labels(tmp_path / "few")) == [3, 4] and len(digests(tmp_path / "few")) == 2


def test_a_complete_folder_is_left_alone_and_other_settings_are_refused(numbers, tmp_path, capsys):
    pack(numbers(9), str(tmp_path / "out"), held_out=0)
    before = digests(tmp_path / "out")
    pack(numbers(9), str(tmp_path / "out"), held_out=0)
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"seed=0; got seed=1"):
        pack(numbers(9), str(tmp_path / "out"), held_out=0, seed=1)
    assert before == digests(tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(UserError, match="no folder of shards"):
        pack(numbers(9), str(tmp_path / "other"), held_out=0)


CHILD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("conftest_of_verbs", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from jepa_wm.data.verbs.pack import pack
pack(module.Numbers(40, [], float(sys.argv[3])), sys.argv[2], held_out=0, samples_per_shard=5)
"""


@pytest.mark.slow
def test_a_killed_pack_leaves_no_half_shard_and_goes_on(tmp_path):
    command = [
        sys.executable,
        "-c",
        CHILD,
        os.path.join(os.path.dirname(__file__), "conftest.py"),
        str(tmp_path / "out"),
    ]
    aside = tmp_path / ".out.pack"
    child = subprocess.Popen([*command, "0.02"])
    deadline = time.monotonic() + 60
    while len(list(aside.glob("train-*.record.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "out").exists()
    done = {path.name: path.stat().st_mtime_ns for path in aside.glob("train-*.tar")}
    assert 3 <= len(done) < 8 and all(len(Shards(str(aside / name))) == 5 for name in done)
    config = read_json(aside / "config.json")
    (aside / "config.json").write_text((aside / "config.json").read_text().replace("0.02", "0.0"))
    subprocess.run([*command, "0.0"], check=True)
    assert config["source"]["count"] == 40
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("train-*.tar")}
    assert done.items() <= again.items() and sorted(labels(tmp_path / "out")) == list(range(40))
    assert not aside.exists() and not list((tmp_path / "out").glob(".*"))


def test_what_another_config_has_begun_is_not_continued(numbers, tmp_path):
    with pytest.raises(UserError, match="torn"):
        pack(numbers(9, [1]), str(tmp_path / "out"), held_out=0, samples_per_shard=1)
    with pytest.raises(UserError, match=r"other settings: seed=0; got seed=2"):
        pack(numbers(9, [1]), str(tmp_path / "out"), held_out=0, samples_per_shard=1, seed=2)


def test_statistics_are_those_of_the_training_split(sources, tmp_path):
    source = sources.npz(tmp_path / "source")
    pack(source, str(tmp_path / "out"), held_out=0.5, samples_per_shard=1, codec="png")
    [episode] = EpisodeShards(tmp_path / "out", "train")
    statistics = read_manifest(tmp_path / "out")["statistics"]
    np.testing.assert_allclose(statistics["action_mean"], episode.actions.mean(axis=0))
    np.testing.assert_allclose(statistics["state_std"], episode.state.std(axis=0), atol=1e-9)


def test_split_keeps_samples_and_groups_together(numbers, tmp_path):
    pack(numbers(50), str(tmp_path / "in"), held_out=0.1, samples_per_shard=7)
    split(str(tmp_path / "in"), str(tmp_path / "out"), held_out=0.4, group="group", samples_per_shard=8)
    found = {name: labels(tmp_path / "out", name) for name in ("train", "val", "test")}
    assert sorted(chain(*found.values())) == list(range(50))
    groups = [{number % 5 for number in found[name]} for name in found]
    assert [len(group) for group in groups] == [3, 1, 1] and len(set.union(*groups)) == 5
    with pytest.raises(UserError, match=r"no 'colour' in its json; it has \['group'\]"):
        split(str(tmp_path / "in"), str(tmp_path / "b"), group="colour")


def test_merge_puts_all_together(numbers, sources, tmp_path):
    for name, count in (("a", 30), ("b", 12)):
        pack(numbers(count), str(tmp_path / name), held_out=0.2, samples_per_shard=7)
    for workers in (1, 2):
        merge([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / f"out{workers}"), 10, workers=workers)
    assert digests(tmp_path / "out1") == digests(tmp_path / "out2")
    for name in ("train", "val", "test"):
        assert sorted(labels(tmp_path / "out1", name)) == sorted(
            labels(tmp_path / "a", name) + labels(tmp_path / "b", name)
        )
    read = Shards(tmp_path / "out1")
    keys = [read.name(number).partition(":")[2] for number in range(len(read)) if read.members(number)]
    assert len(set(keys)) == len(read) and {key[:3] for key in keys} == {"0-n", "1-n"}
    pack(sources.npz(tmp_path / "source"), str(tmp_path / "c"), held_out=0)
    with pytest.raises(UserError, match="episodes and images; expected samples of one kind"):
        merge([str(tmp_path / "a"), str(tmp_path / "c")], str(tmp_path / "d"))
    with pytest.raises(UserError, match="at least two"):
        merge([str(tmp_path / "a")], str(tmp_path / "d"))


def test_merged_statistics_are_those_of_all(sources, tmp_path):
    for name in ("a", "b"):
        pack(sources.npz(tmp_path / "source"), str(tmp_path / name), held_out=0, codec="png")
    merge([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "out"))
    one, both = (read_manifest(tmp_path / name)["statistics"] for name in ("a", "out"))
    assert both["action_rows"] == 2 * one["action_rows"]
    np.testing.assert_allclose(both["state_std"], one["state_std"], atol=1e-12)


def test_the_environment_stays_known(sources, tmp_path):
    from jepa_wm.control.collect import collect

    for name, environment in (("a", "jepa_wm/TwoRooms-v0"), ("b", "jepa_wm/TwoRooms-v0")):
        collect(str(tmp_path / name), 4, 3, 16, environment, seed=ord(name))
    split(str(tmp_path / "a"), str(tmp_path / "s"), held_out=0.5)
    merge([str(tmp_path / "s"), str(tmp_path / "b")], str(tmp_path / "m"))
    manifest = read_manifest(tmp_path / "m")
    assert manifest["environment"] == "jepa_wm/TwoRooms-v0" and manifest["action_space"]["type"] == "Box"


def test_episodes_of_unlike_actions_do_not_merge(sources, tmp_path):
    pack(sources.npz(tmp_path / "source"), str(tmp_path / "a"), held_out=0, codec="png")
    (tmp_path / "wide").mkdir()
    np.savez(tmp_path / "wide" / "wide.npz", **sources.episode_arrays(0) | {"action": np.zeros((6, 5), np.float32)})
    pack(importers.NpzFolder(str(tmp_path / "wide")), str(tmp_path / "b"), held_out=0)
    with pytest.raises(UserError, match=r"actions of (2 and of 5|5 and of 2) columns"):
        merge([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "out"))


def test_from_the_command_line(sources, tmp_path, capsys):
    sources.image_folder(tmp_path / "source")
    command = [
        "shards",
        "pack",
        "--source",
        "ImageFolder",
        f"--source.folder={tmp_path / 'source'}",
        f"--out={tmp_path / 'out'}",
    ]
    assert main([*command, "--held_out=0"]) == 0
    assert "9 samples in 1 shards; 0 skipped" in capsys.readouterr().out
    assert main(["shards", "pack", "--source", "ImageFolder", "--source.foldr=x", "--out=y"]) == 2
    assert "foldr" in capsys.readouterr().err
    assert main(["shards", "pack", "--source", "ImagFolder", "--out=y"]) == 2
    assert "did you mean 'ImageFolder'" in capsys.readouterr().err
    assert main(["shards", "pakc"]) == 2 and "did you mean 'shards pack'" in capsys.readouterr().err
    for words in (["shards"], ["shards", "--help"]):
        assert main(words) == 0 and "shards merge" in capsys.readouterr().out
