"""The store: what was written comes back, and nothing else; rows that were scrambled are never read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jepa_wm.errors import UserError
from probes.features import Rows
from probes.store import Entry, FeatureStore, open_store

DRAW = {"data_hash": "abc", "frames": 5}


def rows(n: int, begin: int, region: bool = True) -> Rows:
    generator = torch.Generator().manual_seed(begin)
    return Rows(
        pixels=torch.zeros(n, 3, 4, 4, dtype=torch.uint8),
        state=torch.randn(n, 2, generator=generator),
        captions=[f"Straße nr. {i}" for i in range(n)],
        factors={"size": torch.rand(n, 1, generator=generator), "colour": torch.rand(n, 3, generator=generator)},
        episode=torch.arange(n) // 2 + begin,
        region=torch.arange(n) % 3 if region else None,
        time=torch.arange(n) % 2,
        ids=[f"a.tar:{i}@{i % 2}" for i in range(n)],
    )


@pytest.fixture
def splits() -> dict[str, Rows]:
    return {"train": rows(5, 0), "test": rows(4, 100)}


@pytest.fixture
def store(tmp_path: Path, splits: dict[str, Rows]) -> FeatureStore:
    (tmp_path / "store").mkdir()
    return open_store(tmp_path / "store", splits, DRAW)


def entry(store: FeatureStore, layer: str = "0", pooling: str = "mean", **changes: Any) -> Entry:
    values = {"model": "runs/a", "step": 7, "split": "test", "n": 4, "d": 3, "tokens": None, "weights": "w"}
    values |= {"rows": store.manifest["rows"]["test"], "source": "here"} | changes
    return Entry(layer=layer, pooling=pooling, **values)


def write(store: FeatureStore, entries: list[Entry]) -> list[np.ndarray]:
    arrays = []
    for number, each in enumerate(entries):
        array = np.random.default_rng(number).normal(size=each.shape).astype(np.float32)
        store.path(each).parent.mkdir(parents=True, exist_ok=True)
        np.save(store.path(each), array)
        arrays.append(array)
    store.record(entries)
    return arrays


def test_rows_come_back_as_they_were(store: FeatureStore, splits: dict[str, Rows]) -> None:
    for split, part in splits.items():
        found = FeatureStore(store.folder).rows(split)
        assert (found.ids, found.captions) == (part.ids, part.captions)
        for name in ("episode", "time", "state", "region"):
            one, other = getattr(found, name), getattr(part, name)
            assert one.dtype == other.dtype and torch.equal(one, other)
        assert found.factors.keys() == part.factors.keys()
        assert all(torch.equal(found.factors[name], part.factors[name]) for name in part.factors)


def test_no_regions(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert open_store(tmp_path / "a", {"val": rows(3, 0, region=False)}, DRAW).rows("val").region is None


def test_features_come_back_as_they_were(store: FeatureStore) -> None:
    entries = [entry(store), entry(store, "latent", "vector"), entry(store, "1", "tokens", tokens=5)]
    arrays = write(store, entries)
    for each, array in zip(entries, arrays, strict=True):
        found = store.features("runs/a", 7, each.layer, each.pooling, "test")
        assert found.dtype == torch.float32 and np.array_equal(found.numpy(), array)
    # One vector has no pooling: whichever is asked for.
    for pooling in ("mean", "class", "tokens"):
        assert np.array_equal(store.features("runs/a/", 7, "latent", pooling, "test").numpy(), arrays[1])
    assert store.entries() == store.entries("runs/a", 7) == entries


def test_layers_and_steps_are_in_order(store: FeatureStore) -> None:
    write(store, [entry(store, layer) for layer in ("latent", "10", "2", "embed", "0")])
    for step in (None, 30, 4):
        write(store, [entry(store, step=step)])
    assert store.layers("runs/a", 7) == ["embed", "0", "2", "10", "latent"]
    assert store.steps("runs/a") == [4, 7, 30, None]
    assert store.layers("runs/b") == [] and store.steps("runs/b") == []


def test_what_is_changed_in_memory_does_not_reach_the_disk(store: FeatureStore) -> None:
    [array] = write(store, [entry(store)])
    store.features("runs/a", 7, "0", "mean", "test").zero_()
    assert np.array_equal(store.features("runs/a", 7, "0", "mean", "test").numpy(), array)


def test_features_are_read_from_the_disk_when_they_are_used(store: FeatureStore) -> None:
    [array] = write(store, [entry(store)])
    found = store.features("runs/a", 7, "0", "mean", "test")
    with store.path(entry(store)).open("r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(42).tobytes())
    assert float(found[-1, -1]) == 42 and np.array_equal(found[:-1].numpy(), array[:-1])


def test_names_that_look_alike_have_places_of_their_own(store: FeatureStore) -> None:
    names = ["a/b", "a-b", "a:b", "a/b@c", "random:a/b", "timm:a/b"]
    assert len({store.place(name, None) for name in names}) == len(names)
    assert store.place("a/b", 0) != store.place("a/b", None)
    assert store.place("runs/a/", 1) == store.place("runs/a", 1) and store.place("r/a/:text", 1) == store.place(
        "r/a:text", 1
    )


class TestScrambled:
    def test_rows_in_another_order(self, store: FeatureStore) -> None:
        write(store, [entry(store)])
        path = store.folder / "rows" / "test.npz"
        with np.load(path) as file:
            columns = dict(file)
        for name in columns:
            np.savez(path, **{**columns, name: columns[name][::-1]})
            fresh = FeatureStore(store.folder)
            for use in (lambda s: s.rows("test"), lambda s: s.features("runs/a", 7, "0", "mean", "test")):
                with pytest.raises(UserError, match="rows are changed or in another order"):
                    use(fresh)
        np.savez(path, **columns)
        assert FeatureStore(store.folder).rows("test").ids == store.rows("test").ids

    def test_features_of_other_rows(self, store: FeatureStore) -> None:
        write(store, [entry(store, rows=store.manifest["rows"]["train"])])
        with pytest.raises(UserError, match=r"layer 0 of 'runs/a' at step 7 is of other rows of 'test'"):
            store.features("runs/a", 7, "0", "mean", "test")

    def test_a_file_of_another_shape(self, store: FeatureStore) -> None:
        write(store, [entry(store)])
        np.save(store.path(entry(store)), np.zeros((3, 3), np.float32))
        with pytest.raises(UserError, match=r"is \(3, 3\); expected \(4, 3\) as recorded"):
            store.features("runs/a", 7, "0", "mean", "test")

    @pytest.mark.parametrize("left", [0, 20, 150])
    def test_a_file_cut_short(self, store: FeatureStore, left: int) -> None:
        write(store, [entry(store)])
        path = store.path(entry(store))
        path.write_bytes(path.read_bytes()[:left])
        with pytest.raises(UserError, match="cannot be read"):
            store.features("runs/a", 7, "0", "mean", "test")

    def test_rows_cut_short(self, store: FeatureStore) -> None:
        path = store.folder / "rows" / "test.npz"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(UserError, match="cannot be read"):
            FeatureStore(store.folder).rows("test")

    def test_no_pickle_is_read(self, store: FeatureStore) -> None:
        write(store, [entry(store)])
        np.save(store.path(entry(store)), np.array([{}, {}, {}, {}], dtype=object), allow_pickle=True)
        with pytest.raises(UserError, match="cannot be read"):
            store.features("runs/a", 7, "0", "mean", "test")


class TestMissing:
    def test_a_model_a_step_a_layer_a_split(self, store: FeatureStore) -> None:
        write(store, [entry(store)])
        for wanted, why in (
            (("runs/b", 7, "0", "mean", "test"), "of 'runs/b' at step 7; it has runs/a"),
            (("runs/a", None, "0", "mean", "test"), "of 'runs/a'; it has the steps 7"),
            (("runs/a", 7, "1", "mean", "test"), "1 mean test (layer, pooling, split); it has 0 mean test"),
            (("runs/a", 7, "0", "class", "test"), "0 class test (layer, pooling, split); it has 0 mean test"),
            (("runs/a", 7, "0", "mean", "train"), "0 mean train (layer, pooling, split); it has 0 mean test"),
        ):
            with pytest.raises(UserError) as error:
                store.features(*wanted)
            assert why in str(error.value)
        with pytest.raises(UserError, match="no split 'tset'; it has train, test"):
            store.rows("tset")

    def test_folders_that_are_no_store(self, store: FeatureStore, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="is not a folder"):
            FeatureStore(tmp_path / "none")
        (store.folder / "manifest.json").unlink()
        with pytest.raises(UserError, match="unfinished"):
            FeatureStore(store.folder)


class TestOneDrawOnly:
    def test_the_same_is_opened(self, store: FeatureStore, splits: dict[str, Rows]) -> None:
        before = (store.folder / "manifest.json").read_bytes()
        open_store(store.folder, splits, DRAW)
        assert (store.folder / "manifest.json").read_bytes() == before

    def test_another_is_refused_and_said(self, store: FeatureStore, splits: dict[str, Rows]) -> None:
        with pytest.raises(UserError, match=r"another draw: of frames 5, not 6; give another 'out'"):
            open_store(store.folder, splits, {**DRAW, "frames": 6})
        with pytest.raises(UserError, match="data_hash abc, not abd; frames 5, not 6"):
            open_store(store.folder, splits, {"data_hash": "abd", "frames": 6})
        with pytest.raises(UserError, match="other rows, though drawn alike"):
            open_store(store.folder, {**splits, "test": rows(4, 101)}, DRAW)

    def test_what_was_left_half_made_is_made_again(self, store: FeatureStore, splits: dict[str, Rows]) -> None:
        (store.folder / "manifest.json").unlink()
        (store.folder / "rows" / "test.npz").write_bytes(b"half")
        assert open_store(store.folder, splits, DRAW).rows("test").ids == splits["test"].ids

    def test_a_folder_of_other_things_is_left_alone(self, tmp_path: Path, splits: dict[str, Rows]) -> None:
        (tmp_path / "thesis.tex").write_text("dear")
        with pytest.raises(UserError, match=r"holds other things than features \(thesis.tex\)"):
            open_store(tmp_path, splits, DRAW)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_record_says_all_there_is_to_know(store: FeatureStore) -> None:
    write(store, [entry(store, tokens=2)])
    [told] = json.loads((store.place("runs/a", 7) / "record.json").read_text())
    assert told["rows"] == store.manifest["rows"]["test"] and told["weights"] == "w" and told["tokens"] == 2
