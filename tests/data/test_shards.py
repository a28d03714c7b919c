"""What is written is what is read, and nothing that is broken or hostile gets through."""

import io
import json
import os
import pickle
import tarfile
import warnings
import zlib

import numpy as np
import pytest
from webdataset import TarWriter, WebDataset

from jepa_wm.data import BrokenSample, EpisodeShards, Shards, ShardWriter
from jepa_wm.data.episodes import MAX_PIXELS, encode
from jepa_wm.data.index import SUFFIX, load_index
from jepa_wm.errors import UserError
from jepa_wm.manifest import write_manifest


def assert_equal(got, expected):
    for name, value in expected._asdict().items():
        if isinstance(value, np.ndarray):
            assert getattr(got, name).dtype == value.dtype
            np.testing.assert_array_equal(getattr(got, name), value)
        else:
            assert getattr(got, name) == value


def rewrite(folder, change, shard="train-000001.tar", order=list):
    """Pass each sample's members of a shard through `change(key, members)`, and its samples through `order`."""
    with tarfile.open(folder / shard) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}
    samples = {}
    for name, data in contents.items():
        key, _, extension = name.partition(".")
        samples.setdefault(key, {})[extension] = data
    with open(folder / shard, "wb") as file, TarWriter(file, encoder=False, mtime=0) as tar:
        for key, members in order(samples.items()):
            tar.write({"__key__": key, **change(key, members)})


def replace(key, **new):
    changes = {name.replace("_", "."): data for name, data in new.items()}
    return lambda k, members: {**members, **changes} if k == key else members


def test_round_trip_is_exact_in_any_order(shards, make_episode):
    read = EpisodeShards(shards, "train")
    assert len(read) == 10 and read.lengths().tolist() == [8] * 10
    assert len(list(shards.glob("train-*.tar"))) == 4
    for number in (9, 0, 5, 3, 2, 9):
        assert_equal(read[number], make_episode(number))
    with pytest.raises(IndexError):
        read[10]


# webdataset leaves the file to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_itself_reads_the_shards(shards, make_episode):
    samples = list(WebDataset(str(shards / "train-000000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["e0", "e1", "e2"]
    np.testing.assert_array_equal(np.load(io.BytesIO(samples[1]["actions.npy"])), make_episode(1).actions)


def test_statistics_are_those_of_all_rows(shards, make_episode):
    statistics = EpisodeShards(shards, "train").statistics
    for name, part in (("action", "actions"), ("state", "state")):
        rows = np.concatenate([getattr(make_episode(number), part) for number in range(10)]).astype(np.float64)
        np.testing.assert_allclose(statistics[f"{name}_mean"], rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(statistics[f"{name}_std"], rows.std(axis=0), rtol=1e-12)


def test_same_episodes_same_bytes(tmp_path, make_episode, write_shards):
    for folder in ("a", "b"):
        write_shards(tmp_path / folder, [make_episode(number) for number in range(4)])
    for tar in (tmp_path / "a").glob("*.tar"):
        assert tar.read_bytes() == (tmp_path / "b" / tar.name).read_bytes()


def test_a_failing_writer_leaves_no_unfinished_shard(tmp_path, make_episode):
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, "train", samples_per_shard=2, codec="png") as writer:
        for number in range(3):
            writer.write(make_episode(number))
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-000000.tar"]


def test_a_killed_writer_leaves_no_unfinished_shard(tmp_path, make_episode):
    if (child := os.fork()) == 0:
        writer = ShardWriter(tmp_path, "train", samples_per_shard=2, codec="png")
        for number in range(3):
            writer.write(make_episode(number))
        os._exit(1)
    os.waitpid(child, 0)
    assert [path.name for path in tmp_path.glob("*.tar")] == ["train-000000.tar"]


@pytest.mark.parametrize(
    "change",
    [
        {"actions": np.zeros((3, 2), np.float32)},
        {"state": np.zeros((8, 3))},
        {"reward": np.full(7, np.nan, np.float32)},
        {"captions": ["one"]},
        {"frames": np.zeros((8, 1, 4, 4), np.uint8)},
        {"id": "../e.0"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_writer_refuses_what_does_not_fit(tmp_path, change, make_episode):
    with pytest.raises(UserError), ShardWriter(tmp_path, "train") as writer:
        writer.write(make_episode(0)._replace(**change))
    assert list(tmp_path.iterdir()) == []


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("pickle-was-run",)


def npy(array, **kwargs):
    data = io.BytesIO()
    np.save(data, array, **kwargs)
    return data.getvalue()


def png_of(side):
    """A small file that claims to be a picture of side x side pixels."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


HOSTILE = {
    "pickled object": {"actions_npy": npy(np.array([Exploit()], dtype=object), allow_pickle=True)},
    "bare pickle": {"state_npy": pickle.dumps(Exploit())},
    "bomb": {"frames_png": png_of(2**20)},
    "jpeg": {"frames_png": b"\xff\xd8\xff\xe0" + b"\0" * 64},
    "no such form": {"frames_os": b"rm"},
    "empty": {"reward_npy": b""},
    "huge npy": {"reward_npy": npy(np.zeros(7, np.float32)).replace(b"(7,)", b"(10000000000000,)")},
    "nan": {"state_npy": npy(np.full((8, 3), np.nan, np.float32))},
    "other width": {"actions_npy": npy(np.zeros((7, 5), np.float32))},
    "other length": {"state_npy": npy(np.zeros((9, 3), np.float32))},
    "captions of numbers": {
        "json": json.dumps({"captions": [1] * 8, "factors": {}, "height": 6, "frames": 8}).encode()
    },
    "no height": {"json": json.dumps({"captions": ["a"] * 8, "factors": {}, "frames": 8}).encode()},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sample_is_refused_by_name(shards, name, tmp_path, monkeypatch, make_episode):
    monkeypatch.chdir(tmp_path)
    rewrite(shards, replace("e4", **HOSTILE[name]))
    read = EpisodeShards(shards, "train")
    with pytest.raises(BrokenSample, match=r"train-000001\.tar:e4"):
        read[4]
    assert_equal(read[5], make_episode(5))
    assert not (tmp_path / "pickle-was-run").exists()


def test_pixel_limit_is_checked_before_decoding(shards):
    side = 2**15
    header = {"frames": 1, "height": side, "width": side, "captions": [""], "factors": {}}
    rewrite(shards, replace("e4", frames_png=png_of(side), json=json.dumps(header).encode()))
    (shards / "manifest.json").unlink()
    with pytest.raises(BrokenSample, match=f"{side**2} pixels; at most {MAX_PIXELS}"):
        EpisodeShards(shards / "train-000001.tar")[1]


def test_frames_of_another_size_or_cut_off_are_refused(shards, make_episode):
    larger = encode(make_episode(4, size=12), "png")
    for new in (
        {"frames_png": larger["frames.png"], "json": larger["json"]},
        {"frames_png": larger["frames.png"][:200]},
    ):
        rewrite(shards, replace("e4", **new))
        with pytest.raises(BrokenSample, match=r"train-000001\.tar:e4"):
            EpisodeShards(shards, "train")[4]


@pytest.mark.parametrize(
    "data", [b"not json", b"{}", b'{"frames": "x"}', b'{"frames": -2}', b"[" * 100_000, b"\xff\xfe"]
)
def test_sample_without_metadata_is_refused_by_name(shards, data, make_episode):
    rewrite(shards, replace("e4", json=data))
    for _ in range(2):
        read = EpisodeShards(shards, "train")
        assert len(read) == 10 and read.lengths().tolist() == [8] * 4 + [0] + [8] * 5
        with pytest.raises(BrokenSample, match=r"train-000001\.tar:e4"):
            read[4]
        assert_equal(read[5], make_episode(5))


def test_sample_that_lacks_a_member_is_refused(shards):
    rewrite(shards, lambda key, members: {k: v for k, v in members.items() if (key, k) != ("e3", "state.npy")})
    with pytest.raises(BrokenSample, match=r"state\.npy"):
        EpisodeShards(shards, "train")[3]


def test_cut_off_shard_keeps_its_whole_samples(shards, make_episode):
    with tarfile.open(shards / "train-000001.tar") as tar:
        ends = [member.offset_data for member in tar if member.name == "e4.frames.png"]
    os.truncate(shards / "train-000001.tar", ends[0] + 100)
    for _ in range(2):
        read = EpisodeShards(shards, "train")
        assert len(read) == 10
        for number in (0, 1, 2, 3, 6, 7, 8, 9):
            assert_equal(read[number], make_episode(number))
        with pytest.raises(BrokenSample, match=r"train-000001\.tar:e4: .*cut short"):
            read[4]
        with pytest.raises(BrokenSample, match="only 2 of the shard's 3 samples"):
            read[5]


def test_shard_that_is_no_tar_is_named_and_the_others_are_read(shards, make_episode):
    (shards / "train-000001.tar").write_bytes(b"rubbish" * 1000)
    read = EpisodeShards(shards, "train")
    assert_equal(read[2], make_episode(2))
    assert_equal(read[6], make_episode(6))
    for number in (3, 4, 5):
        with pytest.raises(BrokenSample, match=r"train-000001\.tar:sample \d: only 0 of"):
            read[number]


def test_index_is_kept_and_renewed_when_the_shard_changes(shards, make_episode):
    EpisodeShards(shards, "train").lengths()
    index = shards / "train-000001.tar.index.npz"
    before = index.stat().st_mtime_ns
    EpisodeShards(shards, "train").lengths()
    assert index.stat().st_mtime_ns == before
    rewrite(shards, lambda key, members: {"extra": b"x" * 2000, **members})
    assert_equal(EpisodeShards(shards, "train")[4], make_episode(4))
    assert index.stat().st_mtime_ns != before


def test_index_is_renewed_when_a_shard_of_the_same_size_takes_its_place(shards, make_episode):
    size = (shards / "train-000001.tar").stat().st_size
    rewrite(shards, lambda key, members: members, order=lambda samples: reversed(list(samples)))
    assert (shards / "train-000001.tar").stat().st_size == size
    assert_equal(EpisodeShards(shards, "train")[3], make_episode(5))


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"\x80\x04.", b"rubbish" * 100], ids=["empty", "zip", "pickle", "rubbish"]
)
def test_broken_index_is_made_again(shards, data, make_episode):
    index = shards / "train-000001.tar.index.npz"
    index.write_bytes(data)
    assert_equal(EpisodeShards(shards, "train")[4], make_episode(4))
    assert index.read_bytes()[:4] == b"PK\3\4"


def lie(index, **changes):
    """Write an index as if it were up to date, with other arrays."""
    with np.load(index) as stored:
        arrays = dict(stored)
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    with open(index, "wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"offsets": lambda offsets: offsets + 2**60},
        {"offsets": lambda offsets: offsets * 0 - 5},
        {"sizes": lambda sizes: sizes * 0 + 2**60},
        {"sizes": lambda sizes: sizes * 0 - 1},
        {"sizes": lambda sizes: sizes.astype(float)},
        {"frames": lambda frames: frames[:1]},
        {"keys": lambda keys: keys.astype("S")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_index_that_cannot_be_true_is_made_again(shards, changes, make_episode):
    lie(shards / "train-000001.tar.index.npz", **changes)
    assert_equal(EpisodeShards(shards, "train")[4], make_episode(4))


def test_lying_index_gives_broken_samples_only(shards):
    lie(shards / "train-000001.tar.index.npz", offsets=lambda offsets: offsets // 2)
    with pytest.raises(BrokenSample, match="e4"):
        EpisodeShards(shards, "train")[4]


def test_folder_without_write_permission_is_read(shards, monkeypatch, make_episode):
    def refuse(*_):
        raise PermissionError

    for index in shards.glob("*.index.npz"):
        index.unlink()
    monkeypatch.setattr("jepa_wm.data.index.write_index", refuse)
    assert_equal(EpisodeShards(shards, "train")[4], make_episode(4))
    assert not list(shards.glob("*.index.npz"))


def test_an_index_beside_a_shard_is_taken_though_the_times_differ(shards, tmp_path):
    shard = shards / "train-000001.tar"
    beside = tmp_path / "beside.npz"
    (shard.with_name(shard.name + SUFFIX)).rename(beside)
    lie(beside, keys=lambda keys: np.char.add(keys, "-from-beside"))
    os.utime(shard, ns=(0, 0))
    assert load_index(shard, beside).keys.tolist() == ["e3-from-beside", "e4-from-beside", "e5-from-beside"]
    assert load_index(shard).keys[0] == "e3-from-beside"


def test_missing_shard(shards):
    (shards / "train-000002.tar").unlink()
    with pytest.raises(UserError, match=r"train-000002\.tar.*(missing|does not exist)"):
        EpisodeShards(shards, "train")[6]


def test_wrong_split_and_folders(shards, tmp_path):
    with pytest.raises(UserError, match=r"no split 'vall'; it has \['train'\]"):
        EpisodeShards(shards, "vall")
    with pytest.raises(UserError, match="not a folder"):
        EpisodeShards(tmp_path / "nowhere", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        EpisodeShards(tmp_path / "empty", "train")
    write_manifest(tmp_path / "empty", "pretrain")
    with pytest.raises(UserError, match="'pretrain'"):
        EpisodeShards(tmp_path / "empty", "train")


@pytest.mark.parametrize(
    "splits",
    [
        {"train": {"shards": []}},
        {"train": {}},
        {"train": 3},
        {},
        {"train": {"shards": [7]}},
        {"train": {"shards": [{"name": "a.tar", "samples": -1}]}},
        {"train": {"shards": [{"name": "../a.tar", "samples": 1}]}},
    ],
)
def test_manifest_that_makes_no_sense(tmp_path, splits):
    write_manifest(tmp_path, "collect", kind="episodes", splits=splits)
    with pytest.raises(UserError):
        EpisodeShards(tmp_path, "train")


def test_shards_of_another_kind(tmp_path, write_images):
    with pytest.raises(UserError, match="holds images; expected episodes"):
        EpisodeShards(write_images(tmp_path / "images", [3]))


def test_tars_without_a_manifest(shards, make_episode):
    (shards / "manifest.json").unlink()
    read = EpisodeShards([str(shards / "train-{000001..000002}.tar")])
    assert len(read) == 6
    assert_equal(read[4], make_episode(7))
    assert_equal(EpisodeShards(shards / "train-000003.tar")[0], make_episode(9))
    with pytest.raises(UserError, match="no statistics"):
        _ = read.statistics


def test_many_shards_keep_few_files_open(tmp_path, write_images):
    read = Shards(write_images(tmp_path / "many", [1] * 100))
    for number in range(100):
        read.members(number)
    assert len(read._files) <= 64
    assert b"PNG" in read.members(0)["png"]
    assert len(pickle.loads(pickle.dumps(read)).members(3)) == 3


def test_good_shards_warn_of_nothing(shards):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(EpisodeShards(shards, "train"))) == 10
