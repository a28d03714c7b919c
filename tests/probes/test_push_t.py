"""Another world than the two rooms goes through planning, probes and report: what only these have is left out."""

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("pymunk", reason="Push-T needs pymunk: pip install 'jepa_wm[pusht]'")

from jepa_wm.control.collect import collect
from jepa_wm.control.goals import Task
from jepa_wm.control.plan import plan
from jepa_wm.data import EpisodeShards
from jepa_wm.encoders import load_encoder
from jepa_wm.envs import PUSH_T
from jepa_wm.planning import CEM
from jepa_wm.search import Search
from probes.features import encode_splits, read_splits
from probes.linear import ridge_probe
from probes.report import report
from probes.run import probe

REGIONS = {"region_knn", "recall_at_1"}


def test_the_staircase_ends_in_a_report_without_rooms(
    tmp_path: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "collect")
    collect(data, 16, 27, 32, PUSH_T, {"block_color": "sample"}, held_out=0.5, seed=3)
    search = Search(CEM(8, 2, 1), horizon=2)
    plan(str(runs["forecast"]), data, str(tmp_path / "plan"), search, 3, 0, 4, films=1, task=Task(ahead=25))
    probe(data, str(runs["pretrain"]), str(runs["forecast"]), str(tmp_path / "probe"), frames=60, pixel_frames=40)
    rows = [json.loads(line) for line in (tmp_path / "probe" / "results.jsonl").read_text().splitlines()]
    value = {(row["model"], row["metric"]): row["value"] for row in rows}
    metrics = {metric for _, metric in value}
    assert {"position_r2", "factor_block_color", "mutual_knn", "cka", "rankme"} <= metrics and not metrics & REGIONS
    splits = read_splits(data, 60, 0)
    latents = encode_splits(load_encoder(str(runs["forecast"])), splits)
    groups = torch.cat([part.episode for part in splits.values()])
    known = [(latents[split], part.state) for split, part in splits.items()]
    assert value["forecast", "position_r2"] == pytest.approx(ridge_probe(*known, groups=groups).r2.value)

    capsys.readouterr()
    report(str(tmp_path))
    page, table = (tmp_path / "report.html").read_text(), capsys.readouterr().out
    assert "image goals" in page and "image goals reached" in table and "replay" in table
    for words in ("text goals", "text goal", "recall@1", "region, kNN", "the disc"):
        assert words not in page and words not in table, words
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["planning"]["text"]["success"] is summary["retrieval"]["recall_at_1"] is None
    assert summary["planning"]["image"]["replay"] is not None
    # The latents' width, which the encoder's blocks of 32 are not.
    assert summary["health"]["dim"] == 16


def test_regions_are_those_of_the_shards_world(tmp_path: Path, collection: Path) -> None:
    collect(str(tmp_path / "push_t"), 3, 2, 16, PUSH_T)
    for folder, there in ((collection, True), (tmp_path / "push_t", False)):
        rows = read_splits(str(folder), 20, 0)["train"]
        assert EpisodeShards(folder).manifest is not None and (rows.first(2).region is not None) == there
