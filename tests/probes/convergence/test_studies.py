"""`jepa-wm align` and `jepa-wm probe track` from shards to the page."""

import json
import re
from pathlib import Path

import pytest
import torch

from jepa_wm.control.collect import collect
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.errors import UserError
from probes.alignment.many import pooled
from probes.alignment.maps import layer_map
from probes.convergence.align import align
from probes.convergence.members import lifted
from probes.convergence.table import Row, read_table
from probes.convergence.track import track
from probes.extract import extract
from probes.linear import ridge_probe
from probes.store import FeatureStore
from tests.probes.conftest import write_run

SMALL = {"frames": 600, "permutations": 19}
FLOOR = 1 / 20


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """90 episodes, 30 of them val and 30 test."""
    folder = tmp_path_factory.mktemp("held_out") / "shards"
    factors = {"agent_color": "sample"}
    collect(str(folder), episodes=90, steps=6, size=32, factors=factors, held_out=2 / 3, seed=1)
    return str(folder)


def encoder(seed: int) -> ViT:
    torch.manual_seed(seed)
    return ViT(patch=8, dim=32, depth=1, heads=2, pooling=GridPool(16)).eval()


def collapsed() -> ViT:
    """Whatever it sees, its block and what follows it say the same."""
    model = encoder(0)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def run(folder: Path, first: ViT, last: ViT) -> str:
    """A run that began as the one and ended as the other."""
    write_run(folder, "pretrain", {"encoder": last}, (100,))
    write_run(folder, "pretrain", {"encoder": first}, (0,))
    write_run(folder, "pretrain", {"encoder": last}, ())
    return str(folder)


def of(rows: list[Row], kind: str, **wanted: object) -> list[Row]:
    return [row for row in rows if row.kind == kind and all(getattr(row, key) == it for key, it in wanted.items())]


def test_a_run_beside_itself_under_another_name_is_the_same_at_every_layer(tmp_path: Path, shards: str) -> None:
    a = run(tmp_path / "a" / "x", encoder(1), encoder(2))
    b = run(tmp_path / "b" / "x", encoder(3), encoder(2))
    align([a, b, "state"], shards, str(tmp_path / "out"), **SMALL)
    rows, fields = read_table(tmp_path / "out")
    for metric in ("mutual_knn", "cka"):
        cells = of(rows, "layers", metric=metric, model=a, other=b)
        same = [cell for cell in cells if cell.layer == cell.other_layer]
        assert len(cells) == 9 and [cell.layer for cell in same] == ["embed", "0", "latent"]
        assert [cell.value for cell in same] == pytest.approx([1.0] * 3, abs=1e-6)
        assert [cell.p for cell in same] == [FLOOR] * 3
        (best,) = of(rows, "alignment", metric=metric, model=a, other=b)
        assert best.effect == pytest.approx(1.0, abs=1e-6) and best.n == 60 and best.null is not None
        assert best.null == pytest.approx(10 / 59 if metric == "mutual_knn" else 0.0, abs=0.02)
        (state,) = of(rows, "alignment", metric=metric, model=a, other="state")
        assert state.value is not None and state.value < 0.9
    assert {row.k for row in of(rows, "k sweep", model=a, other=b)} == {1, 5, 10, 20}
    page = (tmp_path / "out" / "report.html").read_text()
    # Both runs are called x: the folder that tells them apart is named, and no more of the path than that.
    text = re.sub(r"<details>.*?</details>", "", page, flags=re.S)
    assert "a/x × b/x" in text and str(tmp_path) not in re.sub(r"<li>.*?</li>", "", text)
    assert fields["config"]["models"] == [a, b, "state"] and not [said for said in fields["warnings"] if "left" in said]


def test_several_frames_of_an_episode_are_pooled_to_one_sample(tmp_path: Path, shards: str) -> None:
    a = run(tmp_path / "a", encoder(1), encoder(2))
    align([a, "state"], shards, str(tmp_path / "out"), metrics=("mutual_knn",), views=3, **SMALL)
    rows, fields = read_table(tmp_path / "out")
    (best,) = of(rows, "alignment")
    store = FeatureStore(tmp_path / "out" / "features")
    items = torch.cat([store.rows(split).episode for split in ("val", "test")])
    # As many episodes as of one frame each, and three of the seven frames of each.
    assert items.unique(return_counts=True)[1].tolist() == [3] * 60 and best.n == 60

    def layers(model: str) -> list[torch.Tensor]:
        every = [
            torch.cat([store.features(model, None, layer, "mean", split) for split in ("val", "test")])
            for layer in store.layers(model)
        ]
        return [pooled(lifted(layer) if model == "state" else layer, items) for layer in every]

    expected = layer_map("mutual_knn", layers(a), layers("state"), 19).score
    assert (best.value, best.p) == (expected.value, expected.p)
    assert (
        "each of another held-out episode, whose features are the mean over those of up to 3 frames (3.0 on"
        in (tmp_path / "out" / "report.html").read_text()
    )
    assert fields["config"]["views"] == 3


def test_what_is_tracked_is_what_features_made_by_hand_say(tmp_path: Path, shards: str) -> None:
    a = run(tmp_path / "a", encoder(1), encoder(2))
    b = str(write_run(tmp_path / "b", "pretrain", {"encoder": encoder(3)}, (7,)))
    # What an earlier call has left in the store is no part of this one.
    features = str(tmp_path / "out" / "features")
    extract(["pixels"], shards, features, SMALL["frames"])
    track([a, b], shards, str(tmp_path / "out"), anchors=("state",), metrics=("mutual_knn",), **SMALL)
    rows, _ = read_table(tmp_path / "out")
    assert {row.model for row in rows} | {row.other for row in rows if row.other} == {a, b, "state"}
    found = of(rows, "alignment", model=a, other=b)
    # One checkpoint of b stands beside both of a, whose shares of training they are.
    assert [(row.step, row.other_step, row.share) for row in found] == [(0, 7, 0), (100, 7, 100)]

    by_hand = str(tmp_path / "by_hand")
    extract([f"{a}@*", f"{b}@*", "state"], shards, by_hand, SMALL["frames"])
    store = FeatureStore(by_hand)
    first = {}
    for split in ("val", "test"):
        episode = store.rows(split).episode.tolist()
        first[split] = [episode.index(each) for each in dict.fromkeys(episode)]

    def layers(model: str, step: int | None) -> list[torch.Tensor]:
        return [
            torch.cat([store.features(model, step, layer, "mean", split)[rows] for split, rows in first.items()])
            for layer in store.layers(model, step)
        ]

    for row in found:
        result = layer_map("mutual_knn", layers(a, row.step), layers(b, 7), 19)
        assert (row.value, row.p) == (result.score.value, result.score.p) and (
            row.low,
            row.high,
        ) == result.score.interval
        assert row.layer == store.layers(a, row.step)[result.best[0]] and row.null == pytest.approx(result.score.null)
    (with_state,) = of(rows, "alignment", model=a, other="state", step=100)
    truth = [lifted(layer) for layer in layers("state", None)]
    assert with_state.value == layer_map("mutual_knn", layers(a, 100), truth, 19).score.value

    splits = ("train", "val", "test")
    for step in (0, 100):
        parts = [(store.features(a, step, "latent", "mean", split), store.rows(split).state) for split in splits]
        groups = torch.cat([store.rows(split).episode for split in splits])
        (probe,) = of(rows, "probe", metric="position", model=a, step=step, layer="latent")
        assert probe.value == pytest.approx(ridge_probe(*parts, groups, 0).r2.value, abs=1e-6)
    (known,) = of(rows, "probe", metric="position", model="state")
    assert known.value == pytest.approx(1.0, abs=1e-3)


def test_a_study_that_was_killed_goes_on_and_one_that_is_done_is_not_done_again(
    tmp_path: Path, shards: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, out = run(tmp_path / "a", encoder(1), encoder(2)), tmp_path / "out"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("probes.convergence.align.study", killed)
        with pytest.raises(KeyboardInterrupt):
            align([a, "pixels"], shards, str(out), metrics=("cka",), **SMALL)
    made = {path: path.stat().st_mtime_ns for path in (out / "features").rglob("*.npy")}
    assert made and not (out / "manifest.json").exists()
    align([a, "state"], shards, str(out), metrics=("cka",), **SMALL)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    rows, _ = read_table(out)
    assert {row.model for row in rows} | {row.other for row in rows if row.other} == {a, "state"}
    capsys.readouterr()
    align([a, "state"], shards, str(out), metrics=("cka",), **SMALL)
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"made with other settings: metrics=\['cka'\].*; got metrics=\['rsa'\]"):
        align([a, "state"], shards, str(out), metrics=("rsa",), **SMALL)


def test_a_collapsed_checkpoint_costs_its_own_rows_and_no_others(tmp_path: Path, shards: str) -> None:
    a, b = run(tmp_path / "a", collapsed(), encoder(2)), run(tmp_path / "b", encoder(1), collapsed())
    track([a, b], shards, str(tmp_path / "out"), anchors=("state",), metrics=("cka",), **SMALL)
    rows, fields = read_table(tmp_path / "out")
    kept = {(row.model, row.step, row.other) for row in of(rows, "alignment")}
    assert kept == {(a, 100, "state"), (b, 0, "state")}
    said = " ".join(fields["warnings"])
    assert f"'{b}' at step 100 has collapsed" in said and f"'{a}' at step 0 has collapsed" in said
    # What knows nothing has an R² of about 0, and no number is missing without a word.
    (probe,) = of(rows, "probe", metric="position", model=b, step=100, layer="latent")
    assert probe.value is not None and abs(probe.value) < 0.2
    assert all(row.value is not None for row in rows)


def test_a_metric_that_refuses_is_named_and_the_others_go_on(tmp_path: Path, shards: str) -> None:
    # 60 samples of 3072 pixels: CCA would be 1 whatever they are.
    align(["pixels", "state"], shards, str(tmp_path / "out"), metrics=("cca", "cka"), **SMALL)
    rows, fields = read_table(tmp_path / "out")
    assert {row.metric for row in of(rows, "alignment")} == {"cka"}
    assert any(said.startswith("left out: cca of 'pixels' and 'state'") for said in fields["warnings"])
    assert "left out: cca" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(UserError, match="nothing could be measured; left out: cca of 'pixels'"):
        align(["pixels", "state"], shards, str(tmp_path / "none"), metrics=("cca",), **SMALL)
    assert not (tmp_path / "none" / "manifest.json").exists()


def test_one_run_alone_is_probed(tmp_path: Path, shards: str) -> None:
    a = run(tmp_path / "a", encoder(1), encoder(2))
    track([a], shards, str(tmp_path / "out"), anchors=(), **SMALL)
    rows, _ = read_table(tmp_path / "out")
    assert {row.kind for row in rows} == {"probe", "health", "spectrum"}
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["stage"] == "track"
    assert "samples" not in (tmp_path / "out" / "report.html").read_text().partition("<h2>")[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("nope", "cka")}, "metric: got 'nope'"),
        ({"metrics": ("mutual_kn",)}, "did you mean 'mutual_knn'"),
        ({"permutations": 1}, "permutations: got 1"),
        ({"frames": 30}, r"15 held-out episodes \(3 of val, 12 of test\).*expected 21"),
        ({"reference": "nobody"}, "reference: got 'nobody'"),
        ({"models": ["state", "state"]}, "expected two or more that differ"),
    ],
)
def test_what_cannot_succeed_is_refused_before_features_are_made(
    tmp_path: Path, shards: str, options: dict[str, object], message: str
) -> None:
    asked = {"models": ["state", "pixels"], "data": shards, "out": str(tmp_path / "out"), **SMALL, **options}
    with pytest.raises(UserError, match=message):
        align(**asked)
    assert not (tmp_path / "out").exists()


def test_a_world_of_too_few_episodes_is_refused(tmp_path: Path, collection: Path) -> None:
    with pytest.raises(UserError, match=r"10 held-out episodes \(5 of val, 5 of test\)"):
        align(["state", "pixels"], str(collection), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_has_no_class_token_is_compared_by_what_it_has(tmp_path: Path, shards: str) -> None:
    a = run(tmp_path / "a", encoder(1), encoder(2))
    out, again = tmp_path / "out", tmp_path / "again"
    align([a, "state"], shards, str(out), metrics=("cka",), pooling="class", **SMALL)
    rows, _ = read_table(out)
    assert [row.layer for row in of(rows, "layers", model=a)] == ["latent"]
    assert {entry.pooling for entry in FeatureStore(out / "features").entries()} == {"vector"}
    # Layers by their mean, of an earlier call, are no answer to what is asked.
    extract([a], shards, str(again / "features"), SMALL["frames"], each=1, splits=("val", "test"))
    align([a, "state"], shards, str(again), metrics=("cka",), pooling="class", **SMALL)
    assert read_table(again)[0] == rows
