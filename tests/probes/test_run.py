"""The probe verb: results that are right on features whose answers are known, and refusals that say why."""

import json
import shutil

import pytest
import torch
from torch import nn

from jepa_wm.encoders import ClipText, TextAlignment
from jepa_wm.envs import region_of
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest, write_manifest
from probes.features import encode_splits, read_splits
from probes.linear import ridge_probe
from probes.run import find_checkpoints, health, knowledge, language, probe

FRAMES = 400


@pytest.fixture(scope="module")
def rows(collection):
    return read_splits(str(collection), FRAMES, 0)


@pytest.fixture
def text():
    """An alignment whose image side returns its latents, normalised."""
    torch.manual_seed(0)
    text = TextAlignment(16, ClipText(16, 16, 1, 2)).eval()
    text.head = nn.Sequential(nn.Linear(16, 16))
    nn.init.eye_(text.head[0].weight)
    nn.init.zeros_(text.head[0].bias)
    return text


def by_metric(results):
    return {result["metric"]: result for result in results}


def run(runs, collection, out, **options):
    folders = {name: path and str(path) for name, path in runs.items()}
    probe(str(collection), **folders, out=str(out), frames=FRAMES, pixel_frames=100, **options)
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_knowledge_is_full_where_the_features_hold_the_answer(rows):
    torch.manual_seed(0)
    mix = torch.randn(6, 6)
    features = {
        split: torch.cat([part.state, part.factors["agent_color"] / 255, part.factors["agent_size"] * 10], dim=1) @ mix
        for split, part in rows.items()
    }
    found = by_metric(knowledge(features, rows))
    assert list(found) == ["position_r2", "factor_agent_color", "factor_agent_size", "region_knn"]
    assert min(found[name]["value"] for name in found if name != "region_knn") > 0.999


def test_knowledge_is_nothing_where_the_features_are_noise(rows):
    torch.manual_seed(0)
    noise = {split: torch.randn(len(part.state), 6) for split, part in rows.items()}
    found = by_metric(knowledge(noise, rows))
    assert found["position_r2"]["value"] < 0.1
    assert found["region_knn"]["value"] < found["region_knn"]["null"] + 0.15


def test_neighbours_know_the_region_that_features_spell_out(rows):
    one_hot = {
        split: nn.functional.one_hot(torch.from_numpy(region_of(part.state.numpy())), 18).float()
        for split, part in rows.items()
    }
    one_hot = {split: value + 1e-3 * torch.randn_like(value) for split, value in one_hot.items()}
    found = by_metric(knowledge(one_hot, rows))["region_knn"]
    assert found["value"] > 0.98 and found["interval"] is None
    regions = torch.from_numpy(region_of(rows["test"].state.numpy()))
    assert found["null"] <= regions.bincount().max() / len(regions)


def test_health_by_hand():
    latents = torch.cat([torch.diag(torch.tensor([3.0, 3.0])), -torch.diag(torch.tensor([3.0, 3.0]))])
    found = by_metric(health(latents))
    assert found["rankme"]["value"] == pytest.approx(2.0, abs=1e-4)
    assert found["spread_min"]["value"] == found["spread_median"]["value"] == pytest.approx(6**0.5)


def test_latents_that_are_their_captions_agree_fully(text, rows):
    part = rows["test"]
    with torch.no_grad():
        found = by_metric(language(text, text.text(part.captions), part))
    assert all(found[name]["value"] == pytest.approx(1.0) for name in ("mutual_knn", "cka", "recall_at_1"))
    assert found["mutual_knn"]["n"] == 5
    assert found["recall_at_1"]["n"] == len(set(part.captions))


def test_latents_of_other_regions_are_never_retrieved(text, rows):
    part = rows["test"]
    regions = region_of(part.state.numpy())
    other = [int((regions != region).argmax()) for region in regions]
    captions = [part.captions[i] for i in other]
    with torch.no_grad():
        found = by_metric(language(text, text.text(captions), part))["recall_at_1"]
    assert found["value"] < 0.5 and 0 < found["null"] < 0.5


def test_unrelated_latents_do_not_agree(text, rows):
    torch.manual_seed(0)
    found = by_metric(language(text, torch.randn(len(rows["test"].captions), 16), rows["test"]))
    assert abs(found["cka"]["value"]) < 0.1
    assert found["recall_at_1"]["value"] < found["recall_at_1"]["null"] + 0.15


@pytest.mark.parametrize("side", ["latents", "captions"])
def test_a_collapsed_checkpoint_is_measured_but_for_its_neighbours(text, rows, side, capsys):
    part = rows["test"]
    latents = torch.randn(len(part.captions), 16, generator=torch.Generator().manual_seed(0))
    if side == "latents":
        latents = torch.ones_like(latents)
    else:
        text.text = lambda captions: torch.ones(len(captions), 16)
    found = by_metric(language(text, latents, part))
    assert set(found) == {"cka", "recall_at_1"} and found["cka"]["value"] == 0
    assert "mutual_knn is left out" in capsys.readouterr().out


def test_every_checkpoint_and_both_controls_are_measured(tmp_path, runs, collection, world_model):
    results = run(runs, collection, tmp_path / "out")
    rows = read_splits(str(collection), FRAMES, 0)
    assert [*dict.fromkeys((row["model"], row["step"]) for row in results)] == [
        ("pretrain", 0),
        ("pretrain", 1_000_000),
        ("forecast", 7),
        ("random_init", None),
        ("pixels", None),
    ]
    value = {(row["model"], row["metric"]): row["value"] for row in results}
    # The runs' encoder was never trained either, but from another seed.
    assert value["random_init", "position_r2"] != value["forecast", "position_r2"] == value["pretrain", "position_r2"]
    latents = encode_splits(world_model.encoder, rows)
    groups = torch.cat([part.episode for part in rows.values()])
    splits = [(latents[split], part.state) for split, part in rows.items()]
    assert value["forecast", "position_r2"] == pytest.approx(ridge_probe(*splits, groups=groups).r2.value)
    first = rows["train"].first(100)
    pixels = [(part.pixels.flatten(1).float(), part.state) for part in (first, rows["val"], rows["test"])]
    assert value["pixels", "position_r2"] == pytest.approx(ridge_probe(*pixels).r2.value)
    assert ("pixels", "rankme") not in value and ("random_init", "recall_at_1") not in value
    manifest = read_manifest(tmp_path / "out", "probe")
    assert manifest["dim"] == 16 and manifest["config"]["frames"] == FRAMES and manifest["seconds"] > 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.jsonl",
        "drift.json",
        "imagination.png",
        "manifest.json",
    }


def test_results_are_a_function_of_the_seed(tmp_path, runs, collection):
    shutil.rmtree(runs["pretrain"] / "checkpoints" / "step-1000000")
    first = run(runs, collection, tmp_path / "a")
    torch.manual_seed(5)
    assert run(runs, collection, tmp_path / "b") == first
    assert run(runs, collection, tmp_path / "c", seed=1) != first
    assert (tmp_path / "a" / "drift.json").read_text() == (tmp_path / "b" / "drift.json").read_text()


def test_a_complete_folder_is_left_alone(tmp_path, runs, collection, capsys):
    shutil.rmtree(runs["pretrain"] / "checkpoints" / "step-1000000")
    run(runs, collection, tmp_path / "out")
    (tmp_path / "out" / "results.jsonl").write_text('{"old": 1}\n')
    assert run(runs, collection, tmp_path / "out") == [{"old": 1}]
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"made with other settings: seed=0; got seed=1; name another folder"):
        run(runs, collection, tmp_path / "out", seed=1)


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    steps = [1_000_000, 999_999, *range(30, 0, -3)]
    for step in steps:
        (tmp_path / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".step-000040.1.partial").mkdir()
    write_manifest(tmp_path, "pretrain", config={})
    assert [step for step, _ in find_checkpoints(str(tmp_path), "pretrain")] == sorted(steps)


def test_a_run_without_checkpoints_is_refused(runs):
    shutil.rmtree(runs["pretrain"] / "checkpoints")
    with pytest.raises(UserError, match="checkpoints holds no checkpoint"):
        find_checkpoints(str(runs["pretrain"]), "pretrain")


def test_runs_of_the_wrong_stage_are_refused(tmp_path, runs, collection):
    with pytest.raises(UserError, match="stage 'forecast'; expected pretrain"):
        run({**runs, "pretrain": runs["forecast"]}, collection, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_text_alignment_captions_are_left_out_and_nothing_else(tmp_path, runs, collection):
    run(runs, collection, tmp_path / "with")
    for stage in ("pretrain", "forecast"):
        for text in (runs[stage] / "checkpoints").glob("step-*/text"):
            shutil.rmtree(text)
    run(runs, collection, tmp_path / "without")
    told, left = (
        [json.loads(line) for line in (tmp_path / name / "results.jsonl").read_text().splitlines()]
        for name in ("with", "without")
    )
    assert left == [row for row in told if row["metric"] not in ("mutual_knn", "cka", "recall_at_1")]
    assert len(left) < len(told)


def test_without_a_run_of_pretrain_the_forecasting_is_probed_alike(tmp_path, runs, collection):
    both, alone = run(runs, collection, tmp_path / "a"), run(runs | {"pretrain": None}, collection, tmp_path / "b")
    assert alone == [row for row in both if row["model"] != "pretrain"] and len(alone) < len(both)


def test_too_few_frames_are_refused(runs, collection, tmp_path):
    with pytest.raises(UserError, match="pixel_frames 3; expected at least 20"):
        probe(str(collection), str(runs["pretrain"]), str(runs["forecast"]), str(tmp_path / "out"), pixel_frames=3)
