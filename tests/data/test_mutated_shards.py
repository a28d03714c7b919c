"""Whatever happens to the bytes of a shard: no hang, no crash without a message, no good sample lost."""

import io
import re
import tarfile
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from jepa_wm.data import BrokenSample, EpisodeShards, Images, Loader, Shards
from jepa_wm.data.canvas import allocate
from jepa_wm.data.clips import Clips

SHARD = "train-000000.tar"
LIMITS = settings(
    max_examples=60, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def spans(shard: Path) -> dict[str, tuple[int, int]]:
    """The bytes that each sample takes, headers included, by its key."""
    found: dict[str, tuple[int, int]] = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            key = member.name.partition(".")[0]
            end = member.offset_data + -(-member.size // 512) * 512
            found[key] = (min(found.get(key, (member.offset, 0))[0], member.offset), end)
    return found


def changes():
    """Bytes to overwrite, cut out or insert, at a place given as a share of the shard."""
    place = st.floats(0, 1, exclude_max=True)
    return st.tuples(
        st.sampled_from(["overwrite", "cut", "insert", "truncate"]), place, st.binary(min_size=1, max_size=700)
    )


def mutate(data: bytes, change: tuple[str, float, bytes]) -> tuple[bytes, int, int]:
    """The bytes after a change, and which of those before it touched."""
    how, place, new = change
    at = int(place * len(data))
    if how == "overwrite":
        new = new[: len(data) - at]
        return data[:at] + new + data[at + len(new) :], at, at + len(new)
    if how == "cut":
        return data[:at] + data[at + len(new) :], at, len(data)
    if how == "insert":
        return data[:at] + new + data[at:], at, len(data)
    return data[:at], at, len(data)


@pytest.fixture
def whole(tmp_path, write_shards, make_episode) -> Path:
    return write_shards(tmp_path / "whole", [make_episode(number) for number in range(8)], per_shard=8)


@LIMITS
@given(change=changes())
@example(change=("overwrite", 0.5, b"\x07\x0eLbu\x7f\x83\x98"))
def test_episodes_survive_what_happens_to_their_neighbours(whole, tmp_path, make_episode, change):
    folder = tmp_path / "mutated"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes((whole / "manifest.json").read_bytes())
    data, begin, end = mutate((whole / SHARD).read_bytes(), change)
    (folder / SHARD).write_bytes(data)
    (folder / f"{SHARD}.index.npz").unlink(missing_ok=True)
    read = EpisodeShards(folder)
    assert len(read) == 8
    found = {}
    for number in range(len(read)):
        try:
            found[read.name(number).partition(":")[2]] = read[number]
        except BrokenSample as error:
            assert error.why and error.name.startswith(SHARD)
    for number, (key, (first, last)) in enumerate(spans(whole / SHARD).items()):
        if last <= begin or (first >= end and change[0] == "overwrite"):
            assert np.array_equal(found[key].frames, make_episode(number).frames), f"{key} is lost"


@pytest.mark.parametrize("member", range(4))
@pytest.mark.parametrize("name", ["e4", "f3"])
def test_a_name_that_passes_its_checksum_costs_one_sample(whole, tmp_path, make_episode, member, name):
    """Two letters changed so that their sum stays: the header is valid, and cuts sample e3 into pieces."""
    with tarfile.open(whole / SHARD) as tar:
        at = [entry.offset for entry in tar if entry.name.startswith("e3.")][member]
    data = bytearray((whole / SHARD).read_bytes())
    # What the name gains, the last letter of the user's name, which nobody reads, loses.
    gained = sum(name.encode()) - sum(data[at : at + 2])
    data[at : at + 2] = name.encode()
    spare = next(place for place in range(at + 265, at + 297) if data[place] > gained)
    data[spare] -= gained
    folder = tmp_path / "mutated"
    folder.mkdir()
    (folder / "manifest.json").write_bytes((whole / "manifest.json").read_bytes())
    (folder / SHARD).write_bytes(bytes(data))
    read = EpisodeShards(folder)
    found = {}
    for number in range(len(read)):
        with suppress(BrokenSample):
            found[read.name(number).partition(":")[2]] = read[number]
    good = {"e0", "e1", "e2", "e4", "e5", "e6", "e7"} - ({"e4"} if name == "e4" else set())
    assert good <= set(found)
    for key in good:
        assert np.array_equal(found[key].frames, make_episode(int(key[1])).frames)


@LIMITS
@given(change=changes())
def test_batches_of_a_mutated_shard_hold_every_good_sample(images_of, tmp_path, change):
    data, begin, end = mutate((images_of / SHARD).read_bytes(), change)
    folder = tmp_path / "mutated"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes((images_of / "manifest.json").read_bytes())
    (folder / SHARD).write_bytes(data)
    (folder / f"{SHARD}.index.npz").unlink(missing_ok=True)
    stream = Loader(Images(Shards(folder)), batch_size=5, max_broken=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = {tuple(pixel) for batch in stream for pixel in batch["pixels"][:, :2, 0, 0].tolist()}
    good = {
        (number, 0)
        for number, (first, last) in enumerate(spans(images_of / SHARD).values())
        if last <= begin or (first >= end and change[0] == "overwrite")
    }
    assert good <= seen


@pytest.fixture
def images_of(tmp_path, write_images) -> Path:
    return write_images(tmp_path / "images", [12])


@LIMITS
@given(data=st.binary(max_size=3000))
def test_rubbish_is_no_shard_and_says_so(tmp_path, data):
    shard = tmp_path / "rubbish.tar"
    shard.write_bytes(data)
    (tmp_path / "rubbish.tar.index.npz").unlink(missing_ok=True)
    with pytest.raises(Exception, match=r"rubbish\.tar"):
        list(EpisodeShards(str(shard)))


def test_a_flipped_byte_in_a_header_loses_one_member_only(whole, make_episode):
    with tarfile.open(whole / SHARD) as tar:
        headers = [member.offset for member in tar if member.name.startswith("e3.")]
    with open(whole / SHARD, "r+b") as file:
        file.seek(headers[1] + 130)
        file.write(b"\xff")
    read = EpisodeShards(whole)
    good = [number for number in range(8) if number != 3]
    assert all(np.array_equal(read[number].frames, make_episode(number).frames) for number in good)
    with pytest.raises(BrokenSample, match="e3"):
        read[3]


def test_a_header_that_lies_about_its_size_does_not_hide_the_rest(whole, make_episode):
    with tarfile.open(whole / SHARD) as tar:
        member = next(member for member in tar if member.name == "e3.json")
    info = tarfile.TarInfo("e3.json")
    info.size = 2**33 - 1
    with open(whole / SHARD, "r+b") as file:
        file.seek(member.offset)
        file.write(info.tobuf())
    read = EpisodeShards(whole)
    with pytest.raises(BrokenSample, match="e3"):
        read[3]
    assert all(np.array_equal(read[n].frames, make_episode(n).frames) for n in (0, 1, 2, 4, 5, 6, 7))


def write_tar(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_duplicate_keys_zero_lengths_and_missing_fields(tmp_path, make_episode):
    from jepa_wm.data.episodes import encode

    def members(number, **changes):
        own = encode(make_episode(number), "png") | changes
        return [(f"e{number}.{extension}", data) for extension, data in own.items() if data is not None]

    shard = write_tar(
        tmp_path / "a.tar",
        *members(0),
        *members(1, **{"frames.png": b""}),
        *members(2, **{"state.npy": None}),
        *members(3),
        *members(0),
        *members(4, json=b"\xff\xfe not UTF-8"),
        *members(5),
    )
    read = EpisodeShards(shard)
    why = {}
    for number in range(len(read)):
        try:
            assert np.array_equal(read[number].frames, make_episode(int(read[number].id[1:])).frames)
        except BrokenSample as error:
            why[number] = error.why
    assert sorted(why) == [1, 2, 4, 5]
    assert "state.npy" in why[2] and "duplicate key" in why[4] and "utf-8" in why[5].lower()


@pytest.mark.parametrize("name", ["../../escape.json", "/etc/escape.json", "a/../../b.json", "a\\..\\b.json"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    shard = write_tar(tmp_path / "a.tar", (name, b"{}"))
    with pytest.raises(BrokenSample, match="leaves the folder"):
        Shards(str(shard)).members(0)


def test_links_and_devices_are_not_members(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("a.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("b.txt"), io.BytesIO(b""))
    assert Shards(str(tmp_path / "a.tar")).index(0).keys.tolist() == ["b"]


def test_clips_of_broken_footage_are_broken_samples(whole):
    with open(whole / SHARD, "r+b") as file:
        file.seek(512)
        file.write(b"rubbish")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = Loader(Clips(EpisodeShards(whole), frames=3, clips=1), 4, max_broken=1, shuffle=False)
        numbers = [number for batch in stream for number in batch["index"][:, 0].tolist()]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]


def picture(side=4, form="png"):
    data = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 9, np.uint8)).save(data, form)
    return data.getvalue()


def huge_png(side=40_000):
    """A small file that claims to be a picture of more than a billion pixels."""
    data = io.BytesIO()
    Image.new("1", (side, 1)).save(data, "png")
    header = data.getvalue()[12:16] + side.to_bytes(4, "big") * 2 + data.getvalue()[24:29]
    return data.getvalue()[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data.getvalue()[33:]


def huge_jpeg(side=9000):
    """A small file that claims to be a picture of 81 million pixels."""
    data = picture(8, "jpeg")
    size = (8).to_bytes(2, "big") * 2
    at = data.index(b"\xff\xc0") + 5
    assert data[at : at + 4] == size
    return data[:at] + side.to_bytes(2, "big") * 2 + data[at + 4 :]


BAD = {
    "a picture of a billion pixels": ({"png": huge_png()}, "40000 x 40000|exceeds limit"),
    "a PNG just too large": ({"png": huge_png(9000)}, "9000 x 9000; at most 67108864"),
    "a JPEG just too large": ({"jpg": huge_jpeg()}, "9000 x 9000; at most 67108864"),
    "a JPEG cut short": ({"jpg": picture(64, "jpeg")[:-200]}, "Truncated|truncated|broken"),
    "a PNG cut short": ({"png": picture(64)[:-30]}, "truncated|broken"),
    "no bytes": ({"png": b""}, "neither JPEG"),
    "another format": ({"png": picture(form="bmp")}, "neither JPEG"),
    "a text that is not UTF-8": ({"png": picture(), "txt": b"\xff\xfe\xfd"}, "utf-8"),
    "a class that is no number": ({"png": picture(), "cls": b"cat"}, "cat"),
    "no picture": ({"txt": b"alone"}, "no image"),
    "a pickle": ({"pyd": b"cos\nsystem\n(S'touch pickled'\ntR."}, "no image"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("workers", [0, 1])
def test_bad_pictures_are_skipped_and_named_and_the_good_ones_come(tmp_path, monkeypatch, name, workers):
    monkeypatch.chdir(tmp_path)
    members, why = BAD[name]
    good = [(f"g{number}.png", picture()) for number in range(4)]
    bad = [(f"bad.{extension}", data) for extension, data in members.items()]
    stream = Loader(
        Images(Shards(str(write_tar(tmp_path / "a.tar", *good[:2], *bad, *good[2:])))),
        2,
        workers=workers,
        max_broken=0.2,
    )
    assert sum(len(batch["pixels"]) for batch in stream) == 4
    assert list(stream.broken[0].why) == ["a.tar:bad"] and re.search(why, stream.broken[0].why["a.tar:bad"])
    assert not (tmp_path / "pickled").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_good_pictures_keep_their_pixels_beside_broken_ones(tmp_path):
    """CMYK JPEGs and PNGs, which are decoded by different libraries, with a broken one between."""
    cmyk = io.BytesIO()
    Image.new("CMYK", (4, 4), (0, 200, 200, 0)).save(cmyk, "jpeg")
    tar = write_tar(
        tmp_path / "a.tar",
        ("a.jpg", cmyk.getvalue()),
        ("b.png", b"broken"),
        ("c.png", picture()),
        ("d.jpg", cmyk.getvalue()),
        ("e.png", picture()),
    )
    alone, together = (
        [
            row
            for batch in Loader(Images(Shards(str(tar))), size, shuffle=False, max_broken=1)
            for row in batch["pixels"]
        ]
        for size in (1, 5)
    )
    assert len(alone) == len(together) == 4 and alone[0][0, 0, 0] != alone[1][0, 0, 0]
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))


def test_pictures_of_more_than_eight_bits_are_refused(tmp_path):
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(deep, "png")
    with pytest.raises(BrokenSample, match="8 bits a channel"):
        Images(Shards(str(write_tar(tmp_path / "a.tar", ("a.png", deep.getvalue()))))).load(0, 0, 0, allocate)
