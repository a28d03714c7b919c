"""`probe extract`: the store holds what the models make of these very frames, however it was made."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jepa_wm.checkpoint import save_modules
from jepa_wm.cli import main
from jepa_wm.data import EpisodeShards
from jepa_wm.encoders import ClipText, GridPool, TextAlignment, ViT, load_encoder
from jepa_wm.errors import UserError
from jepa_wm.manifest import write_manifest
from probes.extract import extract
from probes.passes import BATCH
from probes.readers import EncoderReader
from probes.store import FeatureStore

FRAMES = 2 * BATCH + 10


def save(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    encoder = ViT(patch=8, dim=16, depth=2, heads=2, prefix=1, pooling=GridPool(8))
    save_modules(folder, {"encoder": encoder, "text": TextAlignment(8, ClipText(8, 16, 1, 2))})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save(tmp_path / "run" / "checkpoints" / "step-000003", 3)
    save(tmp_path / "run" / "model", 4)
    write_manifest(tmp_path / "run", "pretrain", config={})
    return tmp_path / "run"


def files(folder: Path) -> dict[str, bytes]:
    """What a store holds, but for the time that it was made."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.endswith((".lock", "manifest.json", ".npz"))}


def test_features_are_what_the_models_make_of_the_frames_that_ids_name(run: Path, collection: Path) -> None:
    out = run.parent / "store"
    extract(
        [str(run), f"{run}:text", "state", "pixels"], str(collection), str(out), FRAMES, poolings=("mean", "tokens")
    )
    store, encoder = FeatureStore(out), load_encoder(str(run))
    begin = 0
    for split in ("train", "val", "test"):
        shards, rows = EpisodeShards(collection, split), store.rows(split)
        names = {shards[i] and shards.name(i): i for i in range(len(shards))}
        episodes = [shards[names[name.rpartition("@")[0]]] for name in rows.ids]
        times = [int(name.rpartition("@")[2]) for name in rows.ids]
        assert rows.time.tolist() == times
        assert [names[name.rpartition("@")[0]] + begin for name in rows.ids] == rows.episode.tolist()
        pixels = torch.stack([torch.from_numpy(e.frames[t]) for e, t in zip(episodes, times, strict=True)])
        state = torch.stack([torch.from_numpy(e.state[t]) for e, t in zip(episodes, times, strict=True)])
        assert rows.captions == [e.captions[t] for e, t in zip(episodes, times, strict=True)]
        with torch.no_grad():
            for layer, expected in (("latent", encoder.pooled(pixels)), ("1", None)):
                found = store.features(str(run), None, layer, "mean", split)
                if expected is not None:
                    torch.testing.assert_close(found, expected)
            tokens = store.features(str(run), None, "1", "tokens", split)
            torch.testing.assert_close(encoder.norm(tokens), encoder(pixels))
            torch.testing.assert_close(tokens.mean(dim=1), found)
        assert torch.equal(store.features("state", None, "latent", "mean", split), state)
        assert torch.equal(rows.state, state)
        assert torch.equal(store.features("pixels", None, "latent", "mean", split), pixels.flatten(1).float())
        begin += len(shards)
    texts = store.features(f"{run}:text", None, "latent", "mean", "train")
    same = [[a == b for b in store.rows("train").captions] for a in store.rows("train").captions]
    # Equal to the bit where captions are: else neighbours of equal sentences are in an order of their own.
    assert torch.equal((texts[:, None] == texts).all(dim=-1), torch.tensor(same))


def test_one_frame_an_episode(run: Path, collection: Path) -> None:
    extract(["state"], str(collection), str(run.parent / "store"), 30, each=1)
    rows = FeatureStore(run.parent / "store").rows("train")
    assert len(rows.episode.unique()) == len(rows.ids) == 30
    extract(["state"], str(collection), str(run.parent / "more"), 1000, each=2)
    rows = FeatureStore(run.parent / "more").rows("train")
    assert rows.episode.unique(return_counts=True)[1].tolist() == [2] * 40


def test_another_call_adds_to_what_is_there(run: Path, collection: Path) -> None:
    whole, parts = run.parent / "whole", run.parent / "parts"
    model = str(run)
    extract([model, f"{model}@*", "state"], str(collection), str(whole), 30, poolings=("mean", "class"))
    for models, options in (
        ([f"{model}@*"], {"poolings": ("class",), "splits": ("test",)}),
        (["state", model], {"layers": ["1", "latent"]}),
        ([model], {"steps": "all", "poolings": ("mean", "class")}),
        ([model], {"poolings": ("class", "mean")}),
    ):
        extract(models, str(collection), str(parts), 30, **options)
    one, other = files(whole), files(parts)
    assert one.keys() == other.keys()
    assert all(one[name] == other[name] for name in one if name.endswith(".npy"))
    assert set(FeatureStore(whole).entries()) == set(FeatureStore(parts).entries())
    assert FeatureStore(parts).steps(model) == [3, None]


def test_what_is_there_is_not_made_again(run: Path, collection: Path) -> None:
    out = run.parent / "store"
    extract([str(run)], str(collection), str(out), 30)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    extract([str(run)], str(collection), str(out), 30)
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")} and times


def test_what_was_killed_goes_on(run: Path, collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, out = run.parent / "whole", run.parent / "store"
    extract([str(run), "state"], str(collection), str(whole), FRAMES)
    read, calls = EncoderReader.__call__, 0

    def dies(self: EncoderReader, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        read(self, *args)

    monkeypatch.setattr(EncoderReader, "__call__", dies)
    with pytest.raises(KeyboardInterrupt):
        extract([str(run), "state"], str(collection), str(out), FRAMES)
    # The first split is whole, of the second nothing is left.
    assert {entry.split for entry in FeatureStore(out).entries()} == {"train", "val"}
    assert {path.parent.name for path in out.rglob("*.npy")} == {"train", "val"}
    # What no exception cleans up after.
    place = FeatureStore(out).place(str(run), None)
    (place / "abc.arrays").mkdir()
    (place / "abc.arrays" / "0.mean.npy").write_bytes(b"half")
    (place / "test").mkdir()
    (place / "test" / "0.mean.npy").write_bytes(b"half")
    monkeypatch.setattr(EncoderReader, "__call__", read)
    extract([str(run), "state"], str(collection), str(out), FRAMES)
    assert files(out) == files(whole)


def test_two_processes_write_what_one_writes(run: Path, collection: Path) -> None:
    one, two = run.parent / "one", run.parent / "two"
    models = [str(run), f"{run}:text"]
    extract(models, str(collection), str(one), FRAMES, poolings=("mean", "tokens"), splits=("train", "val"))
    extract(
        models, str(collection), str(two), FRAMES, poolings=("mean", "tokens"), splits=("train", "val"), processes=2
    )
    assert files(one) == files(two) and any(name.endswith("tokens.npy") for name in files(two))


def test_two_extractions_at_once_wait_for_each_other(run: Path, collection: Path) -> None:
    one, both = run.parent / "one", run.parent / "both"
    models = [f"{run}@*", str(run), "state"]
    extract(models, str(collection), str(one), FRAMES)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: extract(models, str(collection), str(both), FRAMES), range(2)))
    assert files(one) == files(both)


class TestRetrained:
    def test_is_refused(self, run: Path, collection: Path) -> None:
        out = run.parent / "store"
        extract([str(run), f"{run}@*"], str(collection), str(out), 30)
        before = files(out)
        save(run / "model", 5)
        with pytest.raises(UserError, match=r"run' has other weights .* say replace: true"):
            extract([str(run)], str(collection), str(out), 30, poolings=("class",))
        assert files(out) == before

    def test_is_made_anew_if_told_so(self, run: Path, collection: Path) -> None:
        out, fresh = run.parent / "store", run.parent / "fresh"
        extract([str(run), f"{run}@*"], str(collection), str(out), 30, poolings=("mean", "class"))
        old = FeatureStore(out).features(str(run), None, "0", "mean", "test").clone()
        save(run / "model", 5)
        extract([str(run), f"{run}@*"], str(collection), str(out), 30, replace=True)
        extract([f"{run}@*", str(run)], str(collection), str(fresh), 30)
        store = FeatureStore(out)
        new = store.features(str(run), None, "0", "mean", "test")
        assert not torch.allclose(new, old)
        assert torch.equal(new, FeatureStore(fresh).features(str(run), None, "0", "mean", "test"))
        with pytest.raises(UserError, match="0 class test"):
            store.features(str(run), None, "0", "class", "test")
        store.features(str(run), 3, "0", "class", "test")


def test_half_precision(run: Path, collection: Path) -> None:
    whole, half = run.parent / "whole", run.parent / "half"
    for out, dtype in ((whole, "float32"), (half, "float16")):
        extract([str(run)], str(collection), str(out), 30, dtype=dtype)
    one, other = (FeatureStore(out).features(str(run), None, "1", "mean", "train") for out in (whole, half))
    assert other.dtype == torch.float32 and torch.equal(one.half().float(), other)


class TestBadInput:
    def test_another_draw(self, collection: Path, tmp_path: Path) -> None:
        extract(["state"], str(collection), str(tmp_path / "out"), 30)
        for options in ({"frames": 31}, {"seed": 1}, {"each": 1}, {"dtype": "float16"}):
            with pytest.raises(UserError, match=f"another draw: of {next(iter(options))} "):
                extract(["state"], str(collection), str(tmp_path / "out"), **{"frames": 30, **options})

    def test_no_shards(self, collection: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="none"):
            extract(["state"], str(tmp_path / "none"), str(tmp_path / "out"))
        shutil.copytree(collection, tmp_path / "shards")
        (tmp_path / "shards" / "manifest.json").unlink()
        with pytest.raises(UserError, match="manifest"):
            extract(["state"], str(tmp_path / "shards"), str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()

    def test_unknown_names_stop_it_before_anything_is_made(self, collection: Path, tmp_path: Path) -> None:
        for options, why in (
            ({"models": ["state", "pixel"]}, "did you mean 'pixels'"),
            ({"poolings": ("men",)}, "got poolings men; expected some of mean, class, tokens"),
            ({"poolings": ()}, "got poolings none"),
            ({"splits": ("train", "tset")}, "got splits train, tset"),
            ({"frames": 0}, "got frames 0"),
            ({"each": 0}, "got each 0"),
            ({"processes": 0}, "got processes 0"),
        ):
            with pytest.raises(UserError, match=why):
                extract(**{"models": ["state"], "data": str(collection), "out": str(tmp_path / "out"), **options})
        assert not (tmp_path / "out").exists()

    def test_layers_and_poolings_that_a_model_lacks(self, run: Path, collection: Path) -> None:
        def run_with(**options: Any) -> None:
            extract([str(run)], str(collection), str(run.parent / "out"), 30, **options)

        with pytest.raises(UserError, match="got the layers 7 and the poolings mean; it has the layers embed, 0, 1, l"):
            run_with(layers=["7"])
        with pytest.raises(UserError, match="got the layers last; expected embed, 0, 1 … or latent"):
            run_with(layers=["latent", "last"])
        with pytest.raises(UserError, match="got the layers 0 and the poolings class"):
            extract([f"{run}:text"], str(collection), str(run.parent / "out"), 30, poolings=("class",), layers=["0"])

    def test_a_model_that_diverged(self, run: Path, collection: Path) -> None:
        broken = load_encoder(str(run))
        with torch.no_grad():
            broken.blocks[1].mlp.fc2.bias[0] = torch.nan
        save_modules(run / "model", {"encoder": broken})
        with pytest.raises(UserError, match=r"features of layer 1 of '.*run' hold NaN or infinity"):
            extract([str(run)], str(collection), str(run.parent / "out"), 30)
        assert FeatureStore(run.parent / "out").entries() == []

    def test_numbers_that_float16_does_not_hold(self, run: Path, collection: Path) -> None:
        large = load_encoder(str(run))
        with torch.no_grad():
            large.blocks[1].mlp.fc2.bias[0] = 1e6
        save_modules(run / "model", {"encoder": large})
        with pytest.raises(UserError, match="float16 holds nothing above 65504"):
            extract([str(run)], str(collection), str(run.parent / "out"), 30, dtype="float16")


def test_the_command_line(run: Path, collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run.parent / "store"
    line = [f"--models=[{run}, {run}:text, state]", f"--data={collection}", f"--out={out}", "--frames=30"]
    assert main(["probe", "extract", *line, "--poolings=[mean, class]", "--layers=[latent]"]) == 0
    assert "9 arrays made, 9 in all" in capsys.readouterr().out
    assert np.isfinite(FeatureStore(out).features(f"{run}:text", None, "latent", "mean", "val").numpy()).all()
    assert main(["probe", "extract", *line, "--layers=[0, latent]"]) == 0
    assert "6 arrays made, 15 in all" in capsys.readouterr().out
    assert main(["probe", "extract", *line, "--layers=latent"]) == 2
    assert main(["probe", "extract", "--models=[]", *line[1:]]) == 2
    assert "got no models; expected one or more" in capsys.readouterr().err
    assert main(["probe", "extract", *line, "--seed=1"]) == 2
    assert "seed 0, not 1" in capsys.readouterr().err
