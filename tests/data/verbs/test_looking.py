"""index, verify and inspect: tars from elsewhere, faults that are found and named, a sheet with the right pictures."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from jepa_wm.data import EpisodeShards, Images, Loader, Shards
from jepa_wm.data.verbs.index import index
from jepa_wm.data.verbs.inspect import inspect
from jepa_wm.data.verbs.pack import pack
from jepa_wm.data.verbs.verify import verify
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest


def foreign_tar(path, samples):
    """A tar as others write them: members of samples, no manifest, no index."""
    with tarfile.open(path, "w") as tar:
        for name, data in samples:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_tars_from_elsewhere_become_readable(tmp_path, sources):
    picture = sources.file_of(sources.grey(80), "jpeg")
    for number in range(3):
        foreign_tar(
            tmp_path / f"cc-{number:05d}.tar",
            [
                (f"{number}/{key}.{ext}", data)
                for key in "abc"
                for ext, data in (("jpg", picture), ("txt", b"a caption"))
            ],
        )
    foreign_tar(tmp_path / "val-0.tar", [("x.jpg", picture), ("y.jpg", b"rubbish")])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.tar")}
    index(f"{tmp_path}/*.tar", workers=2)
    manifest = read_manifest(tmp_path, "index")
    assert {name: part["samples"] for name, part in manifest["splits"].items()} == {"train": 9, "val": 2}
    assert manifest["kind"] == "images" and manifest["members"] == {"jpg": 10, "txt": 9}
    assert [skip["index"] for skip in manifest["skipped"]] == ["val-0.tar:y"]
    batch = next(iter(Loader(Images(Shards(tmp_path)), 9)))
    assert batch["captions"] == ["a caption"] * 9 and abs(batch["pixels"].float().mean() - 80) < 3
    assert before == {path.name: path.read_bytes() for path in tmp_path.glob("*.tar")}
    with pytest.raises(UserError, match=r"manifest\.json exists"):
        index(f"{tmp_path}/*.tar")


def test_indexed_episodes_have_their_statistics(shards_of_episodes, tmp_path):
    before = read_manifest(shards_of_episodes)
    (shards_of_episodes / "manifest.json").unlink()
    index(f"{shards_of_episodes}/train-*.tar")
    after = read_manifest(shards_of_episodes)
    for name in ("statistics", "splits", "kind", "frame_shape", "members", "data_hash"):
        assert after[name] == before[name]
    assert len(EpisodeShards(shards_of_episodes)) == 3


@pytest.fixture
def shards_of_episodes(tmp_path, sources):
    pack(sources.npz(tmp_path / "source"), str(tmp_path / "out"), held_out=0, samples_per_shard=2)
    return tmp_path / "out"


def test_index_says_what_it_cannot_do(tmp_path, sources):
    with pytest.raises(UserError, match="no file matches"):
        index(f"{tmp_path}/*.tar")
    with pytest.raises(UserError, match=r"b\.tar does not exist \(1 of 1"):
        index(f"{tmp_path}/b.tar")
    with pytest.raises(UserError, match="is not here"):
        index("https://example.org/a.tar")
    foreign_tar(tmp_path / "a.tar", [("a.bin", b"x")])
    with pytest.raises(UserError, match="nothing that can be read"):
        index(f"{tmp_path}/a.tar")
    foreign_tar(tmp_path / "a.tar", [("a.jpg", sources.file_of(sources.grey(1), "jpeg"))])
    sources.film(tmp_path / "b.mp4", np.stack([sources.grey(1, 32, 32)] * 3))
    foreign_tar(tmp_path / "b.tar", [("b.mp4", (tmp_path / "b.mp4").read_bytes())])
    with pytest.raises(UserError, match="images and videos"):
        index(f"{tmp_path}/*.tar")
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_verify_finds_nothing_in_good_shards(shards_of_episodes, capsys, workers):
    verify(str(shards_of_episodes), workers=workers)
    assert "3 samples in 2 shards are whole" in capsys.readouterr().out


def test_verify_names_what_is_wrong(shards_of_episodes, capsys):
    shard = shards_of_episodes / "train-000000.tar"
    with tarfile.open(shard) as tar:
        at = next(member.offset_data for member in tar if member.name.endswith("frames.mjpeg"))
    with open(shard, "r+b") as file:
        file.seek(at)
        file.write(b"rubbish")
    capsys.readouterr()
    with pytest.raises(UserError, match="2 faults in 3 samples"):
        verify(str(shards_of_episodes))
    checksum, sample = capsys.readouterr().out.splitlines()
    assert "train-000000.tar: its checksum" in checksum
    assert sample.startswith("train-000000.tar:00000") and "JPEG" in sample
    with pytest.raises(UserError, match="1 faults in 3 samples"):
        verify(str(shards_of_episodes), decode=False)
    assert "its checksum" in capsys.readouterr().out
    shard.unlink()
    with pytest.raises(UserError, match="1 faults"):
        verify(str(shards_of_episodes))
    assert "train-000000.tar: " in capsys.readouterr().out


def test_verify_decodes_videos_and_single_tars(tmp_path, sources, capsys):
    source = sources.video_folder(tmp_path / "source")
    pack(source, str(tmp_path / "out"), held_out=0)
    verify(str(tmp_path / "out"))
    verify(str(tmp_path / "out" / "train-000000.tar"))
    foreign_tar(tmp_path / "a.tar", [("a.webp", b"no picture"), ("b.png", sources.file_of(sources.grey(3), "png"))])
    with pytest.raises(UserError, match="1 faults in 2 samples"):
        verify(str(tmp_path / "a.tar"))
    assert "a.tar:a: its image is neither" in capsys.readouterr().out


def test_inspect_prints_a_table_and_draws_a_sheet(shards_of_episodes, tmp_path, capsys):
    inspect(str(shards_of_episodes), samples=3)
    out = capsys.readouterr().out
    assert "episodes" in out and "8 x 10 pixels" in out and "frames.mjpeg (3)" in out
    assert "train           2          3           21" in out
    with Image.open(shards_of_episodes / "contact_sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("L"))
    # Frame t of episode e is grey 20 t + e: six frames of each, first to last, in rows.
    rows = [[int(pixels[8 + 64 + y * 166, 8 + 64 + x * 136]) for x in range(6)] for y in range(3)]
    expected = [[20 * round(x * (5 + e) / 5 - 0.499) + e for x in range(6)] for e in range(3)]
    assert np.abs(np.sort(rows, axis=0) - np.sort(expected, axis=0)).max() <= 22
    assert all(row == sorted(row) and row[-1] >= 95 for row in rows)


def test_inspect_shows_images_with_their_captions(tmp_path, sources, capsys):
    pack(sources.table(tmp_path / "source"), str(tmp_path / "out"), held_out=0)
    inspect(str(tmp_path / "out"), out=str(tmp_path / "sheet.png"), samples=7)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 8 + 6 * 136 and sheet.height == 8 + 2 * 166
        below = np.asarray(sheet.convert("L"))[8 + 130 : 8 + 155, 8:136]
    assert (below < 100).any() and "table.parquet" not in capsys.readouterr().err


def test_inspect_leaves_broken_samples_out(tmp_path, sources, capsys):
    picture = sources.file_of(sources.grey(3), "png")
    foreign_tar(tmp_path / "a.tar", [("a.png", b"rubbish"), ("b.png", picture), ("c.png", picture)])
    inspect(str(tmp_path / "a.tar"), out=str(tmp_path / "sheet.png"))
    assert "1 broken samples left out" in capsys.readouterr().out
