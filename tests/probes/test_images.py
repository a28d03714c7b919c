"""Images with labels and captions in place of episodes: the rows are theirs, whatever splits there are."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jepa_wm.checkpoint import save_modules
from jepa_wm.data import Shards
from jepa_wm.data.images import decode_image
from jepa_wm.data.writer import summarise, write_shard
from jepa_wm.encoders import ClipText, GridPool, TextAlignment, TimmEncoder, ViT, load_encoder, load_text
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.errors import UserError
from jepa_wm.manifest import write_manifest
from probes.alignment.many import pooled
from probes.alignment.maps import layer_map
from probes.convergence.align import align
from probes.convergence.table import read_table
from probes.convergence.track import track
from probes.draw import read_rows, samples_drawn
from probes.extract import extract
from probes.parts import parts_of
from probes.pictures import Pictures, read_pictures
from probes.readers import EncoderReader
from probes.store import FeatureStore

TIMM = "random:timm:test_vit"
SPLITS = ("train", "val", "test")


def captions(number: int) -> list[str]:
    return [f"picture {number}", f"it is number {number}", "said of many"][: 1 + number % 3]


def picture(number: int, side: int | None) -> bytes:
    random = np.random.default_rng(number)
    size = (side, side) if side else tuple(random.integers(20, 40, 2))
    pixels = random.integers(0, 60, (*size, 3)) + 90 * (number % 2) + number % 50
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "png")
    return file.getvalue()


def pairs(folder: Path, side: int | None = 16, texts: bool = True, **numbers: range) -> str:
    """Shards of images, dark and bright by turns, of so many numbers in each split; sizes vary if no side is given."""
    records = {}
    for split, own in numbers.items():
        samples = []
        for number in own:
            members = {"png": picture(number, side), "cls": b"%d" % (number % 2)}
            if texts:
                said = captions(number)
                members |= {"txt": said[0].encode(), "json": json.dumps({"said": said}).encode()}
            samples.append((f"key{number}", members))
        half = len(samples) // 2
        parts = [(0, samples[:half]), (1, samples[half:])]
        written = [write_shard(folder / f"{split}-{at:06d}.tar", iter(part)) for at, part in parts]
        records[split] = summarise(written)
    shape = {"frame_shape": [3, side, side] if side else None}
    about = {"config": {}, "data_hash": str(sorted(numbers)), **shape}
    write_manifest(folder, "pack", kind="images", splits=records, **about)
    return str(folder)


@pytest.fixture
def run(tmp_path: Path) -> str:
    torch.manual_seed(3)
    encoder = ViT(patch=8, dim=16, depth=2, heads=2, prefix=1, pooling=GridPool(8))
    modules = {"encoder": encoder, "text": TextAlignment(8, ClipText(8, 16, 1, 2))}
    for place in ("model", "checkpoints/step-000003"):
        save_modules(tmp_path / "run" / place, modules)
    write_manifest(tmp_path / "run", "pretrain", config={})
    return str(tmp_path / "run")


def numbers_of(ids: list[str]) -> list[int]:
    return [int(name.partition("key")[2].partition("@")[0]) for name in ids]


def pixels_of(numbers: list[int], side: int | None) -> list[torch.Tensor]:
    return [torch.from_numpy(decode_image({"png": picture(n, side)})).movedim(-1, -3) for n in numbers]


def test_features_are_what_the_models_make_of_the_images_that_ids_name(run: str, tmp_path: Path) -> None:
    data = pairs(tmp_path / "data", train=range(30), val=range(30, 36), test=range(36, 60))
    extract([run, f"{run}:text", "pixels"], data, str(tmp_path / "store"), 40, each=2)
    store, encoder, text = FeatureStore(tmp_path / "store"), load_encoder(run), load_text(run)
    seen: set[int] = set()
    for split, own in (("train", range(30)), ("val", range(30, 36)), ("test", range(36, 60))):
        rows = store.rows(split)
        numbers = numbers_of(rows.ids)
        # 40 rows of two captions each are 20 images; a third of the images have but one caption.
        assert len(set(numbers)) == {"train": 20, "val": 2, "test": 8}[split] and set(numbers) <= set(own)
        assert rows.labels is not None and rows.labels.tolist() == [number % 2 for number in numbers]
        assert rows.captions == [captions(n)[t] for n, t in zip(numbers, rows.time.tolist(), strict=True)]
        assert [int(name.rpartition("@")[2]) for name in rows.ids] == rows.time.tolist()
        counts = {number: numbers.count(number) for number in numbers}
        assert counts == {number: min(2, len(captions(number))) for number in counts}
        assert {split.removesuffix(".tar")[:-7] for split in (name.partition(":")[0] for name in rows.ids)} == {split}
        items = rows.episode.tolist()
        assert len(set(zip(items, numbers, strict=True))) == len(set(items)) == len(counts) and not seen & set(items)
        seen |= set(items)
        pixels = torch.stack(pixels_of(numbers, 16))
        with torch.no_grad():
            latents, sentences = encoder.pooled(pixels), text.text(rows.captions)
        torch.testing.assert_close(store.features(run, None, "latent", "mean", split), latents)
        torch.testing.assert_close(store.features(f"{run}:text", None, "latent", "mean", split), sentences)
        assert torch.equal(store.features("pixels", None, "latent", "mean", split), pixels.flatten(1).float())


def test_images_of_all_sizes_are_brought_to_the_encoders_own_and_read_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pairs(tmp_path / "data", side=None, train=range(12), val=range(12, 24), test=range(24, 36))
    read, seen = EncoderReader.__call__, 0

    def counted(self: EncoderReader, rows: object, readout: object) -> None:
        nonlocal seen
        seen += len(rows.ids)  # type: ignore[attr-defined]
        read(self, rows, readout)  # type: ignore[arg-type]

    monkeypatch.setattr(EncoderReader, "__call__", counted)
    extract([TIMM], data, str(tmp_path / "store"), 100, each=3, splits=("test",))
    store = FeatureStore(tmp_path / "store")
    numbers = numbers_of(store.rows("test").ids)
    # One more is read to see what comes.
    assert len(numbers) == 24 and seen == len(set(numbers)) + 1 == 13
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = TimmEncoder("test_vit").eval()
    pixels = torch.stack([encoder.preprocessing(image) for image in pixels_of(numbers, None)])
    with torch.no_grad():
        torch.testing.assert_close(
            store.features(TIMM, None, "latent", "mean", "test"), encoder.pooled(pixels), atol=1e-5, rtol=1e-4
        )


def test_images_can_be_sent_to_another_process(tmp_path: Path) -> None:
    data = pairs(tmp_path / "data", train=range(6), val=range(6, 8), test=range(8, 10))
    part = read_pictures(data, 6, seed=0)["train"].pixels
    # A file that is open here is not open there.
    assert torch.equal(pickle.loads(pickle.dumps(part)).decode(), part.decode())


def test_a_draw_is_a_matter_of_the_seed_and_each_part_has_its_own(tmp_path: Path) -> None:
    """Of one split for all three parts, each is drawn whole: orders are then all that a seed decides."""
    data = pairs(tmp_path / "data", 4, train=range(300))

    def orders(seed: int) -> list[list[int]]:
        return [rows.pixels.numbers.tolist() for rows in read_pictures(data, 10**4, seed).values()]

    one, again, other = orders(0), orders(0), orders(1)
    assert one == again and all(a != b and sorted(a) == sorted(b) for a, b in zip(one, other, strict=True))
    # As many images in two splits are drawn in two orders.
    data = pairs(tmp_path / "two", 4, val=range(40), test=range(40, 80), train=range(80, 120))
    drawn = [rows.pixels.numbers.tolist() for rows in read_pictures(data, 10**4, 0).values()]
    assert all(sorted(order) == list(range(40)) for order in drawn)
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


@pytest.mark.parametrize("each", [None, 1, 2])
@pytest.mark.parametrize("frames", [10, 45, 100])
def test_as_many_images_are_drawn_as_is_said_before(tmp_path: Path, frames: int, each: int | None) -> None:
    data = pairs(tmp_path / "data", 4, train=range(30), val=range(30, 36), test=range(36, 60))
    drawn = {split: len(rows.pixels.numbers.unique()) for split, rows in read_rows(data, frames, 0, each).items()}
    assert samples_drawn(data, frames, each) == drawn


def test_what_has_a_size_of_its_own_is_not_brought_to_another(tmp_path: Path) -> None:
    data = pairs(tmp_path / "data", side=None, train=range(20))
    part = read_pictures(data, 10, seed=0, size=16)["train"].pixels
    assert part.decode().shape[2:] == (16, 16)
    images = pixels_of([int(part.shards.sample_keys()[n].removeprefix("key")) for n in part.numbers], None)
    assert torch.equal(part.decode(lambda image: image[:, 2:9, 1:4]), torch.stack([x[:, 2:9, 1:4] for x in images]))


class TestParts:
    @pytest.mark.parametrize(
        ("there", "serves"),
        [
            (("train", "val", "test"), {"train": "train", "val": "val", "test": "test"}),
            (("train", "val"), {"train": "train", "val": "val", "test": "val"}),
            (("train", "test"), {"train": "train", "val": "train", "test": "test"}),
            (("val", "test"), {"train": "val", "val": "val", "test": "test"}),
            (("test",), {"train": "test", "val": "test", "test": "test"}),
        ],
    )
    def test_each_sample_is_in_one_part(self, tmp_path: Path, there: tuple[str, ...], serves: dict[str, str]) -> None:
        ranges = {split: range(300 * at, 300 * at + 300) for at, split in enumerate(there)}
        parts = parts_of(pairs(tmp_path / "data", 4, texts=False, **ranges))
        assert {split: part.shards.split for split, part in parts.items()} == serves and tuple(parts) == SPLITS
        places = [(part.shards.split, number) for part in parts.values() for number in part.numbers.tolist()]
        assert len(places) == len(set(places)) == 300 * len(there)
        items = [part.begin + number for part in parts.values() for number in part.numbers.tolist()]
        assert sorted(items) == list(range(300 * len(there)))

    def test_one_split_is_shared_as_probes_draw(self, tmp_path: Path) -> None:
        parts = parts_of(pairs(tmp_path / "data", 4, texts=False, train=range(1500)))
        shares = [len(part.numbers) / 1500 for part in parts.values()]
        assert shares == pytest.approx([1 / 1.5, 0.1 / 1.5, 0.4 / 1.5], abs=0.04)

    def test_a_part_is_a_matter_of_the_key_alone(self, tmp_path: Path) -> None:
        def keys(data: str) -> dict[str, set[str]]:
            parts = parts_of(data)
            return {s: {part.shards.sample_keys()[n] for n in part.numbers} for s, part in parts.items()}

        whole, half = pairs(tmp_path / "a", 4, train=range(400)), pairs(tmp_path / "b", 4, train=range(399, 199, -1))
        one, other = keys(whole), keys(half)
        kept = {f"key{number}" for number in range(200, 400)}
        assert other == {split: own & kept for split, own in one.items()}

    def test_a_split_without_samples_is_as_if_it_were_not_there(self, tmp_path: Path) -> None:
        parts = parts_of(pairs(tmp_path / "data", 4, train=range(300), val=range(0)))
        assert {part.shards.split for part in parts.values()} == {"train"}
        assert sum(len(part.numbers) for part in parts.values()) == 300

    def test_too_few(self, tmp_path: Path) -> None:
        data = pairs(tmp_path / "data", train=range(2))
        with pytest.raises(UserError, match=r"has 2 of 'train', which leaves none for .*pack more samples"):
            extract(["pixels"], data, str(tmp_path / "out"))


def test_a_broken_image_is_left_out_and_named(tmp_path: Path) -> None:
    data = pairs(tmp_path / "data", train=range(10), val=range(10, 12), test=range(12, 14))
    shards = Shards(data, "train")
    numbers = {key: number for number, key in enumerate(shards.sample_keys())}
    at, size = shards.index(0).spans(numbers["key3"])["png"]
    tar = Path(shards.addresses[0])
    content = bytearray(tar.read_bytes())
    content[at : at + size] = bytes(size)
    tar.write_bytes(content)
    with pytest.warns(UserWarning, match="train-000000.tar:key3"):
        extract(["pixels"], data, str(tmp_path / "store"), 100)
    found = numbers_of(FeatureStore(tmp_path / "store").rows("train").ids)
    assert sorted(found) == [number for number in range(10) if number != 3]


def test_images_without_labels_have_none(tmp_path: Path) -> None:
    samples = [(f"key{n}", {"png": picture(n, 16)}) for n in range(60)]
    record = summarise([write_shard(tmp_path / "data" / "train-000000.tar", iter(samples))])
    write_manifest(tmp_path / "data", "pack", kind="images", config={}, splits={"train": record})
    extract(["pixels"], str(tmp_path / "data"), str(tmp_path / "store"), 60)
    rows = FeatureStore(tmp_path / "store").rows("train")
    assert rows.labels is None and rows.captions == [""] * len(rows.ids) and rows.state.shape == (len(rows.ids), 0)


def test_images_some_of_which_have_a_label(tmp_path: Path) -> None:
    samples = [(f"key{n}", {"png": picture(n, 4), **({"cls": b"%d" % n} if n % 3 == 0 else {})}) for n in range(60)]
    record = summarise([write_shard(tmp_path / "data" / "train-000000.tar", iter(samples))])
    write_manifest(tmp_path / "data", "pack", kind="images", config={}, splits={"train": record})
    rows = read_pictures(str(tmp_path / "data"), 100, seed=0)["train"]
    assert rows.labels is not None
    assert rows.labels.tolist() == [-1 if number % 3 else number for number in numbers_of(rows.ids)]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["pixels", "state"], "'state' needs episodes, and .* holds images; leave it out"),
        (["factors", "pixels"], "'factors' needs episodes"),
        (["pixels", "RUN:world"], "run:world' needs episodes"),
    ],
)
def test_what_images_do_not_have_is_refused_before_features_are_made(
    run: str, tmp_path: Path, models: list[str], message: str
) -> None:
    data = pairs(tmp_path / "data", train=range(200))
    named = [name.replace("RUN", run) for name in models]
    for verb in (extract, align):
        with pytest.raises(UserError, match=message):
            verb(named, data, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


class TestBadInput:
    def test_anchors_that_images_do_not_have(self, run: str, tmp_path: Path) -> None:
        data = pairs(tmp_path / "data", train=range(200))
        with pytest.raises(UserError, match="'factors' needs episodes"):
            track([run], data, str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()

    def test_runs_read_images_as_they_are(self, run: str, tmp_path: Path) -> None:
        data = pairs(tmp_path / "data", side=None, train=range(40))
        for model in (run, "pixels"):
            for verb in (extract, align):
                with pytest.raises(UserError, match=r"holds images of several sizes; .* give the 'size' to which"):
                    verb([TIMM, model], data, str(tmp_path / "out"), 20)
        assert not (tmp_path / "out").exists()
        # What no manifest says shows when they are read.
        (tmp_path / "data" / "manifest.json").unlink()
        shards = [f"{tmp_path}/data/train-00000{number}.tar" for number in range(2)]
        with pytest.raises(UserError, match=r"holds images of several sizes; 'pixels'"):
            Pictures(Shards(shards), torch.arange(9)).decode()
        pairs(tmp_path / "data", side=None, train=range(40))
        extract([run, "pixels"], data, str(tmp_path / "sized"), 20, size=16)
        store = FeatureStore(tmp_path / "sized")
        numbers = numbers_of(store.rows("train").ids)
        pixels = torch.stack([Preprocessing(16)(image) for image in pixels_of(numbers, None)])
        assert torch.equal(store.features("pixels", None, "latent", "mean", "train"), pixels.flatten(1).float())
        with torch.no_grad():
            torch.testing.assert_close(
                store.features(run, None, "latent", "mean", "train"), load_encoder(run).pooled(pixels)
            )
        with pytest.raises(UserError, match="another draw: of size 16, not 24"):
            extract([run], data, str(tmp_path / "sized"), 20, size=24)

    def test_frames_keep_their_size(self, collection: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"size: got 16, and .* holds episodes"):
            extract(["state"], str(collection), str(tmp_path / "out"), 30, size=16)

    def test_no_captions(self, run: str, tmp_path: Path) -> None:
        data = pairs(tmp_path / "data", texts=False, train=range(40))
        with pytest.raises(UserError, match="samples have no caption, which a text tower reads"):
            extract([f"{run}:text"], data, str(tmp_path / "out"), 20)

    def test_other_kinds(self, tmp_path: Path) -> None:
        write_manifest(tmp_path / "data", "pack", kind="videos", config={}, splits={})
        with pytest.raises(UserError, match="holds videos; expected episodes or images"):
            extract(["pixels"], str(tmp_path / "data"), str(tmp_path / "out"))

    def test_views(self, tmp_path: Path) -> None:
        data = pairs(tmp_path / "data", train=range(100))
        with pytest.raises(UserError, match="views: got 0"):
            align(["pixels", TIMM], data, str(tmp_path / "out"), views=0)


def test_images_and_all_their_captions_are_aligned_as_by_hand(run: str, tmp_path: Path) -> None:
    data = pairs(tmp_path / "data", train=range(60))
    text, out = f"{run}:text", tmp_path / "out"
    align([run, text], data, str(out), metrics=("mutual_knn",), views=3, permutations=19)
    rows, fields = read_table(out)
    (best,) = (row for row in rows if row.kind == "alignment")
    store = FeatureStore(out / "features")
    items = torch.cat([store.rows(split).episode for split in SPLITS])

    def layers(model: str) -> list[torch.Tensor]:
        parts = [[store.features(model, None, x, "mean", s) for s in SPLITS] for x in store.layers(model)]
        return [pooled(torch.cat(part), items) for part in parts]

    # Nothing is held out: all 60 images are compared, and it is said.
    assert len(items) == sum(len(captions(number)) for number in range(60)) == 120
    expected = layer_map("mutual_knn", layers(run), layers(text), 19).score
    assert (best.value, best.p, best.n) == (expected.value, expected.p, 60)
    assert any("holds nothing out: all of its images are compared" in said for said in fields["warnings"])
    page = (out / "report.html").read_text()
    assert "mean over those of up to 3 captions (2.0 on average), scaled to norm 1; the same for all" in page


def test_one_view_is_the_first_caption_on_held_out_images(run: str, tmp_path: Path) -> None:
    data = pairs(tmp_path / "data", train=range(5), val=range(5, 60))
    align([run, f"{run}:text"], data, str(tmp_path / "out"), metrics=("cka",), permutations=19)
    rows, fields = read_table(tmp_path / "out")
    assert {row.n for row in rows if row.kind == "alignment"} == {55}
    store = FeatureStore(tmp_path / "out" / "features")
    assert {entry.split for entry in store.entries()} == {"val", "test"}
    numbers = [n for split in ("val", "test") for n in numbers_of(store.rows(split).ids)]
    assert sorted(numbers) == list(range(5, 60)) and store.rows("test").time.unique().tolist() == [0]
    assert fields["samples"] == "each another held-out image"
    assert not any("holds nothing out" in said for said in fields["warnings"])


def test_what_runs_know_of_labels_is_tracked(run: str, tmp_path: Path) -> None:
    data = pairs(tmp_path / "data", train=range(120), val=range(120, 150), test=range(150, 200))
    track([run], data, str(tmp_path / "out"), anchors=("pixels",), metrics=("cka",), permutations=19)
    rows, _ = read_table(tmp_path / "out")
    found = [row for row in rows if row.kind == "probe"]
    assert {row.metric for row in found} == {"labels"} and {row.n for row in found} == {50}
    assert {(row.model, row.step) for row in found} == {(run, 3), ("pixels", None)}
    # Dark and bright ones: what the pixels tell, and chance is a half.
    (pixels,) = (row for row in found if row.model == "pixels")
    assert pixels.value == 1.0 and pixels.null == 0.5
