"""Images and videos as people have them: odd ones are kept, named or left out, and none is lost in silence."""

import json
import struct
import zlib

import av
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import torchvision
from PIL import Image

from jepa_wm.data import importers
from jepa_wm.data.images import decode_image
from jepa_wm.data.verbs.pack import pack
from jepa_wm.errors import UserError


def write(folder, **files):
    """Files `<folder>/<name>`, `__` in a name being a slash and `_` before its end a dot."""
    for name, data in files.items():
        path = folder / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder)


@pytest.fixture
def picture(sources):
    return sources.file_of(sources.grey(80), "png")


@pytest.mark.parametrize(
    ("form", "dtype"), [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", np.int32), ("TIFF", np.float32)]
)
def test_deep_pictures_are_refused_and_not_made_white(tmp_path, sources, form, dtype):
    folder = write(tmp_path, a_tiff=sources.file_of(np.full((4, 4), 1000, dtype), form))
    with pytest.raises(UserError, match=r"a\.tiff .* 8 bits a channel"):
        importers.ImageFolder(folder)[0]


def test_a_jpeg_with_more_pictures_behind_it_is_kept(tmp_path):
    red = Image.new("RGB", (8, 6), (250, 0, 0))
    red.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (8, 6))])
    members = importers.ImageFolder(str(tmp_path))[0].members
    assert members["jpg"] == (tmp_path / "a.jpg").read_bytes()
    assert abs(decode_image(members).astype(int) - [250, 0, 0]).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK"])
def test_pictures_of_other_colours_become_png(tmp_path, mode):
    image = Image.new("RGB", (8, 6), (255, 255, 255)).convert(mode)
    image.save(tmp_path / "a.tiff")
    members = importers.ImageFolder(str(tmp_path))[0].members
    assert (decode_image(members) == np.asarray(image.convert("RGB"))).all() and decode_image(members).mean() > 250


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_picture_that_was_cut_off_is_named(tmp_path, sources, form):
    data = sources.file_of(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8), form)
    for part in (data[: len(data) // 2], data[:3], b""):
        folder = write(tmp_path, cat__a_png=part)
        with pytest.raises(UserError, match=r"cat/a\.png is no image that can be read") as error:
            importers.ImageFolder(folder)[0]
        assert " at 0x" not in str(error.value)


def test_an_image_of_a_billion_pixels_is_refused(tmp_path):
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 40_000, 30_000, 1, 0, 0, 0, 0)
    folder = write(tmp_path, a_png=b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    with pytest.raises(UserError, match="1200000000 pixels"):
        importers.ImageFolder(folder)[0]
    header = struct.pack(">IIBBBBB", 8193, 8192, 1, 0, 0, 0, 0)
    write(tmp_path, a_png=b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    with pytest.raises(UserError, match="at most 67108864 pixels"):
        importers.ImageFolder(folder)[0]


def test_links_are_followed_and_hidden_files_left_out(tmp_path, picture):
    write(tmp_path / "elsewhere", a_PNG=picture)
    root = tmp_path / "root"
    write(root, dog__b_png=picture, c_png=picture)
    (root / "cat").symlink_to(tmp_path / "elsewhere")
    for hidden in ("dog/._b.png", ".checkpoints/b.png"):
        (root / hidden).parent.mkdir(exist_ok=True)
        (root / hidden).write_bytes(b"no image")
    (root / "dog" / "folder.png").mkdir()
    items = [importers.ImageFolder(str(root))[number].members for number in range(3)]
    assert len(importers.ImageFolder(str(root))) == 3
    assert [json.loads(members["json"]) for members in items] == [
        {"path": "c.png"},
        {"path": "cat/a.PNG", "class": "cat"},
        {"path": "dog/b.png", "class": "dog"},
    ]
    assert [members.get("cls") for members in items] == [None, b"0", b"1"]


def test_a_file_that_went_away_is_named(tmp_path, picture):
    source = importers.ImageFolder(write(tmp_path, a_png=picture, b_png=picture))
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png cannot be read: No such file"):
        source[0]
    assert source[1].members["png"] == picture


def test_csv_as_spreadsheets_write_it(tmp_path, picture):
    write(tmp_path, a_png=picture, b_png=picture, c_png=picture)
    text = 'image,caption,score\r\na.png,"two\r\nlines, and a ""quote""",1\r\n\r\nb.png,ö,2\r\nc.png\r\n'
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8-sig"))
    source = importers.Table(str(tmp_path / "t.csv"))
    members = [source[number].members for number in range(len(source))]
    assert [own["txt"].decode() for own in members] == ['two\r\nlines, and a "quote"', "ö", ""]
    assert [json.loads(own["json"])["score"] for own in members] == ["1", "2", None]


def test_tables_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "t.csv").write_bytes("image,caption\na.png,ö\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"t\.csv is not UTF-8"):
        importers.Table(str(tmp_path / "t.csv"))
    (tmp_path / "u.csv").write_bytes(b"caption,image\nx,a\0.png\ny,\nz,\nshort\n")
    for number, shown in enumerate((r"'a\\x00\.png'", "''", "''", "None")):
        with pytest.raises(UserError, match=rf"row {number} of .*u\.csv has {shown} for its image"):
            importers.Table(str(tmp_path / "u.csv"))[number]
    (tmp_path / "w.parquet").write_bytes(b"PAR1 but nothing else")
    with pytest.raises(UserError, match=r"w\.parquet cannot be read"):
        importers.Table(str(tmp_path / "w.parquet"))
    (tmp_path / "v.csv").write_text("image,caption\n")
    assert len(importers.Table(str(tmp_path / "v.csv"))) == 0


def test_parquet_columns_that_json_has_not_are_left_out(tmp_path, picture):
    columns = {
        "image": [picture, picture, picture],
        "caption": [["one", "two"], None, []],
        "mask": [{"bytes": picture}] * 3,
        "score": [float("nan"), 0.5, None],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    source = importers.Table(str(tmp_path / "t.parquet"))
    members = [source[number].members for number in range(3)]
    assert [own["txt"] for own in members] == [b"one", b"", b""]
    assert [json.loads(own["json"]) for own in members] == [
        {"caption": ["one", "two"]},
        {"score": 0.5},
        {"caption": [], "score": None},
    ]
    assert importers.Table(str(tmp_path / "t.parquet"), caption="score")[1].members["txt"] == b"0.5"
    pyarrow.parquet.write_table(pyarrow.table({"image": [picture], "caption": [0]}), tmp_path / "n.parquet")
    assert importers.Table(str(tmp_path / "n.parquet"))[0].members["txt"] == b"0"


def test_a_broken_row_group_costs_its_own_rows_only(tmp_path, sources):
    rows = [sources.file_of(sources.grey(20 * number), "png") for number in range(9)]
    table = pyarrow.table({"image": rows, "caption": [str(number) for number in range(9)]})
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=3, use_dictionary=False)
    start = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 60] = bytes(byte ^ 255 for byte in data[start : start + 60])
    path.write_bytes(data)
    source, read = importers.Table(str(path)), []
    for number in (8, 4, 0, 3, 2, 5, 6):
        try:
            assert (decode_image(source[number].members) == 20 * number).all()
            read.append(number)
        except UserError as error:
            assert f"row {number} of {path} cannot be read" in str(error)
    assert read == [8, 0, 2, 6]


@pytest.fixture
def videos(tmp_path, sources):
    """Three videos of noise, 40 frames each."""
    frames = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), dtype=np.uint8)
    for name in ("a.mp4", "b.mp4", "c.webm"):
        sources.film(tmp_path / name, frames, "libvpx" if name.endswith("webm") else "libx264")
    return tmp_path


def test_videos_of_other_forms_are_listed_and_not_lost(videos):
    (videos / "a.mp4").rename(videos / "a.MOV")
    source = importers.VideoFolder(str(videos))
    assert len(source) == 3 and "mp4" in source[1].members
    with pytest.raises(UserError, match=r"a\.MOV is neither mp4 nor webm; convert it"):
        source[0]


def test_a_video_that_was_cut_off_is_named(videos):
    # The header in front, as files for the web have it: it is whole when the frames are not.
    front = {"movflags": "faststart"}
    with av.open(str(videos / "a.mp4")) as old, av.open(str(videos / "z.mp4"), "w", options=front) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    data = (videos / "z.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    source = importers.VideoFolder(str(videos))
    assert json.loads(source[3].members["json"])["frames"] == 40
    (videos / "z.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UserError, match=r"z\.mp4 cannot be read"):
        source[3]


def test_captions_of_videos(videos):
    (videos / "a.txt").write_text("beside it\n", encoding="utf-8")
    (videos / "captions.csv").write_text('video,caption\na.mp4,of the table\nc.webm,"one, two"\nz.mp4,gone\n')
    source = importers.VideoFolder(str(videos))
    assert [source[number].members.get("txt") for number in range(3)] == [b"beside it", None, b"one, two"]
    (videos / "captions.csv").write_text("video,caption\nvideos/a.mp4,x\n")
    with pytest.raises(UserError, match=r"names none of the videos; expected paths such as a\.mp4"):
        importers.VideoFolder(str(videos))
    (videos / "captions.csv").write_text("video,text\na.mp4,x\n")
    with pytest.raises(UserError, match=r"no column \['caption'\]; it has \['video', 'text'\]"):
        importers.VideoFolder(str(videos))
    (videos / "captions.csv").unlink()
    (videos / "b.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"b\.txt is not UTF-8"):
        importers.VideoFolder(str(videos))[1]


def test_torchvision_files_are_kept_unless_they_are_transformed(tmp_path, sources):
    photo = sources.file_of(np.arange(240, dtype=np.uint8).reshape(8, 10, 3), "jpeg")
    folder = write(tmp_path, cat__a_jpg=photo, dog__b_jpg=photo)
    kept = importers.TorchvisionDataset(torchvision.datasets.ImageFolder(folder))[1].members
    assert kept == {"jpg": photo, "cls": b"1"}
    small = torchvision.datasets.ImageFolder(folder, torchvision.transforms.CenterCrop(4))
    made = importers.TorchvisionDataset(small)[1].members
    assert sorted(made) == ["cls", "png"]
    assert (decode_image(made) == np.asarray(small[1][0])).all() and decode_image(made).shape == (4, 4, 3)


class Samples(torch.utils.data.Dataset):
    """Whatever it is given."""

    def __init__(self, samples):
        self.given = samples

    def __len__(self):
        return len(self.given)

    def __getitem__(self, index):
        return self.given[index]


def test_datasets_of_pictures_and_targets_of_all_kinds():
    tall = torch.arange(4 * 5 * 3, dtype=torch.uint8).reshape(4, 5, 3)
    grey = Image.new("L", (3, 2), 9)
    given = [grey, (grey, torch.tensor(3)), (grey, torch.tensor(0.5)), (grey, np.int64(4)), (tall, None), [tall[:1], 1]]
    source = importers.TorchvisionDataset(Samples(given))
    members = [source[number].members for number in range(len(given))]
    assert [own.get("cls") for own in members] == [None, b"3", None, b"4", None, b"1"]
    assert json.loads(members[2]["json"]) == {"target": 0.5}
    # Channels first, the fourth is opacity.
    assert (decode_image(members[4]) == tall[:3].permute(1, 2, 0).numpy()).all()
    assert (decode_image(members[5]) == tall[0, :, :, None].numpy()).all()


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        ((torch.zeros(5, 4, 4, dtype=torch.uint8), 0), r"uint8 \(4, 4, 5\)"),
        ((Image.fromarray(np.full((4, 4), 1000, np.uint16)), 0), "8 bits a channel"),
        ((Image.new("L", (4, 4)), float("nan")), "sample 0 of Samples"),
        ((Image.new("L", (4, 4)), Image.new("L", (4, 4))), "JSON has no Image"),
        ({"image": Image.new("L", (4, 4))}, "sample 0 of Samples"),
    ],
)
def test_samples_that_are_no_pictures_are_named(sample, why):
    with pytest.raises(UserError, match=why):
        importers.TorchvisionDataset(Samples([sample]))[0]


def test_another_dataset_of_the_same_class_is_another_source(tmp_path):
    fake = torchvision.datasets.FakeData
    pack(importers.TorchvisionDataset(fake(5, (3, 8, 8))), str(tmp_path / "out"), held_out=0)
    pack(importers.TorchvisionDataset(fake(5, (3, 8, 8))), str(tmp_path / "out"), held_out=0)
    with pytest.raises(UserError, match="other settings"):
        pack(importers.TorchvisionDataset(fake(6, (3, 8, 8))), str(tmp_path / "out"), held_out=0)
    about = importers.TorchvisionDataset(fake(5, transform=lambda image: image)).about
    assert "Number of datapoints: 5" in about and "0x" not in about
