"""The report: right figures from the right rows, on a page that stands alone."""

import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from jepa_wm.cli import main
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest, write_manifest
from jepa_wm.statistics import wilson
from probes.report import report, summary_table
from probes.report.charts import Line, Panel, small_multiples, standalone
from probes.report.html import escape
from probes.report.imagined import imagination
from probes.report.inputs import STAGES, read_curves, read_runs
from probes.report.learning import probe_panel
from probes.report.summary import summarise

SECONDS = {"collect": 20.5, "pretrain": 210.25, "forecast": 240.0, "plan": 95.0, "probe": 40.0}
HITS = {"cem": (187, 74), "expert": (199, 98), "random": (9, 6), "noop": (0, 5)}
FINAL = {"position_r2": 0.983, "factor_agent_color": 0.94, "factor_agent_size": 0.71, "region_knn": 0.957}
FINAL |= {"recall_at_1": 0.62, "mutual_knn": 0.343, "cka": 0.48, "rankme": 38.4, "spread_min": 0.31}
FINAL |= {"spread_median": 0.92}
NULLS = {"position_r2": -0.012, "factor_agent_color": -0.02, "factor_agent_size": -0.01, "region_knn": 0.1}
NULLS |= {"recall_at_1": 0.055, "mutual_knn": 0.008, "cka": 0.0}
RANDOM = {"position_r2": 0.612, "factor_agent_color": 0.41, "factor_agent_size": 0.22, "region_knn": 0.31}
RANDOM |= {"rankme": 5.7}
PIXELS = {"position_r2": 0.874, "factor_agent_color": 0.52, "factor_agent_size": 0.35, "region_knn": 0.44}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def planning_rows() -> list[dict[str, Any]]:
    rows = []
    for policy, hits in HITS.items():
        for goal, count, episodes in zip(("image", "text"), hits, (200, 100), strict=True):
            row = {"goal": goal, "policy": policy, "success": count / episodes, "episodes": episodes, "excluded": 7}
            row |= {"success_last": max(0, count - 3) / episodes, "ci95": list(wilson(count, episodes))}
            row |= {"success_any": min(count + 1, episodes) / episodes, "sources": episodes - 9}
            spent = {"seconds_per_plan": 2.4, "seconds_each": 0.024, "evaluations": 1500.0}
            rows.append(row | (spent if policy == "cem" else {}))
    return rows


def probe_rows() -> list[dict[str, Any]]:
    def row(model: str, step: int | None, metric: str, value: float) -> dict[str, Any]:
        bounds = [round(value - 0.01, 4), round(value + 0.008, 4)] if metric.endswith(("r2", "_1")) else None
        null = NULLS.get(metric)
        return {
            "model": model,
            "step": step,
            "metric": metric,
            "value": value,
            "null": null,
            "interval": bounds,
            "n": 1192,
        }

    rows = [row(model, None, name, value) for model, values in (("random_init", RANDOM), ("pixels", PIXELS))
            for name, value in values.items()]  # fmt: skip
    # The last step comes first: the report must go by the step, not by the order of rows.
    for model, steps, low, high in (("forecast", (500, 250, 0), 0.8, 1.0), ("pretrain", (0, 100, 200, 300), 0.3, 0.8)):
        for step in steps:
            share = low + (high - low) * (1 - math.exp(-4 * step / max(steps))) / (1 - math.exp(-4))
            rows += [row(model, step, name, round(share * value, 4)) for name, value in FINAL.items()]
    return rows


def curve_rows(steps: int, parts: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(9, steps, 10):
        level = {name: 0.4 + (i + 2) * math.exp(-step / 90) for i, name in enumerate(parts)}
        wobble = 1 + 0.04 * math.sin(step)
        rows.append({"step": step, "epoch": 0, **{f"train/{name}": value * wobble for name, value in level.items()}})
        if step % 50 == 49:
            health = {
                "rankme": 40 - 30 * math.exp(-step / 80),
                "spread_min": 0.3,
                "position_r2": 1 - math.exp(-step / 60),
            }
            rows.append({"step": step, **{f"val/{name}": value * 1.02 for name, value in level.items()},
                         **{f"health/{name}": value for name, value in health.items()}})  # fmt: skip
    return rows


def draw(size: tuple[int, int], at: int) -> Image.Image:
    picture = Image.new("RGB", size, "ivory")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((size[0] // 2 - 2, 0, size[0] // 2 + 2, size[1] // 2), fill="black")
    pen.ellipse((at, size[1] // 2, at + 9, size[1] // 2 + 9), fill="red")
    return picture


def write_films(folder: Path) -> None:
    folder.mkdir(parents=True)
    index = []
    for i in range(8):
        goal, sentence = ("image", None) if i < 4 else ("text", "the top left corner of the right room")
        frames = [draw((64, 64), 4 + 3 * k) for k in range(6)]
        frames[0].save(folder / f"{goal}-{i % 4:02d}.webp", save_all=True, append_images=frames[1:], duration=100)
        index.append({"file": f"{goal}-{i % 4:02d}.webp", "goal": goal, "sentence": sentence, "success": i != 2})
    (folder / "index.json").write_text(json.dumps(index))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, with figures that all differ."""
    runs = tmp_path_factory.mktemp("runs")
    factors = {"agent_color": "sample", "agent_size": "sample"}
    splits = {
        name: {"episodes": n, "frames": 51 * n, "shards": ["a.tar"]} for name, n in (("train", 2701), ("test", 150))
    }
    extra: dict[str, dict[str, Any]] = {stage: {"config": {"stage": stage, "seed": 0}} for stage in STAGES}
    extra["collect"] = {"environment": "jepa_wm/TwoRooms-v0", "splits": splits, "config": {"factors": factors}}
    extra["pretrain"]["steps"], extra["forecast"]["steps"], extra["probe"]["dim"] = 300, 500, 64
    for number, (stage, seconds) in enumerate(SECONDS.items()):
        write_manifest(runs / stage, stage, seconds=seconds, peak_rss_gib=1.25 + (number * 2) % 5 * 0.5, **extra[stage])
    write_lines(runs / "plan" / "results.jsonl", planning_rows())
    trace = {"cost": [[3.0, None], [1.0, 2.0]], "nan": [[0, 8], [0, 8]], "evaluations": [8, 16], "seconds": [0.1, 0.2]}
    (runs / "plan" / "plan.json").write_text(json.dumps({"image": trace, "text": {**trace, "nan": [[0, 0]] * 2}}))
    write_films(runs / "plan" / "films")
    write_lines(runs / "probe" / "results.jsonl", probe_rows())
    draw((64 * 9, 64 * 8), 40).save(runs / "probe" / "imagination.png")
    drift = {"frame_skip": 5, "step": [1, 2, 3], "latent_error": [0.05, 0.09, 0.16], "still_error": [0.3, 0.6, 0.8]}
    drift |= {"relative_error": [0.17, 0.15, 0.2], "position_error": [0.01, 0.02, 0.03]}
    drift |= {"position_error_still": [0.1, 0.2, 0.25], "position_error_real": [0.01, 0.01, 0.011]}
    (runs / "probe" / "drift.json").write_text(json.dumps(drift))
    parts = ["loss", "masked/loss", "masked/target_spread", "text/contrast", "text/accuracy", "text/sigreg"]
    write_lines(runs / "pretrain" / "metrics.jsonl", curve_rows(300, parts))
    parts = ["loss", "forecast/one_step", "forecast/rollout", "forecast/rollout_relative", "forecast/sigreg"]
    write_lines(runs / "forecast" / "metrics.jsonl", curve_rows(500, parts))
    return runs


@pytest.fixture
def runs(template: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be damaged."""
    return Path(shutil.copytree(template, tmp_path / "runs"))


@pytest.fixture(scope="module")
def written(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with its report."""
    folder = Path(shutil.copytree(template, tmp_path_factory.mktemp("written") / "runs"))
    report(str(folder))
    return folder


def summary_of(runs: Path) -> dict[str, Any]:
    return dict(json.loads(json.dumps(summarise(read_runs(runs)), allow_nan=False)))


class Page(HTMLParser):
    """Tables as text, addresses, and whether every element is closed."""

    VOID = ("meta", "img", "br", "link", "path", "use", "rect")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data.strip()


def page_of(runs: Path) -> tuple[str, Page]:
    text = (runs / "report.html").read_text()
    return text, Page(text)


class TestSummary:
    def test_figures_come_from_their_rows(self, written: Path) -> None:
        summary = json.loads((written / "summary.json").read_text())
        image, text = summary["planning"]["image"], summary["planning"]["text"]
        assert (image["success"], image["random"], image["noop"], image["expert"]) == (0.935, 0.045, 0.0, 0.995)
        assert (text["success"], text["random"], text["episodes"]) == (0.74, 0.06, 100)
        assert (image["episodes"], image["excluded"], image["ci95"]) == (200, 7, list(wilson(187, 200)))
        probe = summary["probe"]
        assert (probe["position_r2"], probe["random_init_r2"], probe["pixels_r2"]) == (0.983, 0.612, 0.874)
        assert probe["ci95"] == [0.973, 0.991]
        assert (summary["retrieval"]["recall_at_1"], summary["retrieval"]["chance"]) == (0.62, 0.055)
        assert (summary["health"]["rankme"], summary["health"]["dim"]) == (38.4, 64)
        assert summary["seconds"] == {**SECONDS, "total": sum(SECONDS.values())}
        assert summary["peak_rss_gib"] == 3.25
        assert set(summary["machine"]) == {"cores", "cpu_count", "platform"}
        assert summary["versions"]["torch"] and summary["python"]

    def test_a_policy_is_known_by_its_name(self, runs: Path) -> None:
        swapped = {"cem": "random", "random": "mppi", "noop": "noop"}
        rows = [row | {"policy": swapped[row["policy"]]} for row in planning_rows() if row["policy"] != "expert"]
        write_lines(runs / "plan" / "results.jsonl", rows)
        image = summary_of(runs)["planning"]["image"]
        assert (image["success"], image["random"], image["noop"], image["expert"]) == (0.045, 0.935, 0.0, None)

    def test_a_stage_without_its_time_leaves_no_total(self, runs: Path) -> None:
        write_manifest(runs / "collect", "collect")
        seconds = summary_of(runs)["seconds"]
        assert seconds["collect"] is None and seconds["total"] is None and seconds["plan"] == 95.0

    def test_a_stage_that_only_some_demos_have_counts_where_it_is(self, runs: Path) -> None:
        write_manifest(runs / "encode", "encode", seconds=7.5)
        assert summary_of(runs)["seconds"] == {**SECONDS, "encode": 7.5, "total": sum(SECONDS.values()) + 7.5}

    def test_what_json_cannot_hold_is_none(self, runs: Path) -> None:
        rows = [row | {"value": math.nan, "interval": [math.nan, 1.0]} for row in probe_rows()]
        write_lines(runs / "probe" / "results.jsonl", rows)
        assert summary_of(runs)["probe"]["position_r2"] is summary_of(runs)["probe"]["ci95"] is None

    def test_table_for_the_terminal(self, written: Path) -> None:
        lines = summary_table(json.loads((written / "summary.json").read_text())).splitlines()
        assert lines[1].split("  ")[0] == "image goals reached"
        for figure in ("93.5 %", "89.2 to 96.2 %", "random 4.5 %", "noop 0.0 %", "expert 99.5 %", "200 episodes"):
            assert figure in lines[1]
        assert "0.983" in lines[3] and "0.973 to 0.991" in lines[3] and "pixels 0.874" in lines[3]
        assert len({line.index("%") for line in lines[1:3]}) == 1


class TestPage:
    def test_it_stands_alone(self, written: Path) -> None:
        text, page = page_of(written)
        assert page.open == []
        assert not re.search(r"https?://|<script|<link|@import", text)
        assert page.addresses and all(address.startswith(("data:image/", "#")) for address in page.addresses)
        assert sum(address.startswith("data:image/webp;base64,") for address in page.addresses) == 8
        identifiers = re.findall(r' id="([^"]+)"', text)
        assert {address[1:] for address in page.addresses if address[0] == "#"} <= set(identifiers)

    def test_tables_hold_the_numbers(self, written: Path) -> None:
        planning, probes, data, stages = page_of(written)[1].tables
        cem = ["image", "CEM in the world model", "", "93.5 %", "89.2 to 96.2 %", "94.0 %", "92.0 %"]
        cem += ["200", "191", "7", "1,500", "24.0"]
        assert cem in planning and len(planning) == 9
        position = ["position, R²", "0.983", "0.973 to 0.991", "−0.012", "0.786", "0.612", "0.874", "1,192"]
        assert position in probes and len(probes) == 1 + len(FINAL)
        assert ["agent size, R²", "0.710"] in [row[:2] for row in probes]
        assert ["train", "2,701", "137,751"] in data
        assert [row[:4] for row in stages if row[0] == "forecast"] == [["forecast", "4 min 00 s", "3.25 GiB", "500"]]
        assert stages[-1][:3] == ["total", "10 min 06 s", "3.25 GiB"]

    def test_charts_show_every_probe_and_every_pair_of_losses(self, written: Path) -> None:
        text = page_of(written)[0]
        charts = dict(re.findall(r'<svg role="img" aria-label="([^"]+)"(.*?)</svg>', text, re.DOTALL))
        assert "agent color, R²" in charts["probes over training steps"]
        assert "text/sigreg" in charts["pretrain: training against validation"]
        assert "forecast/rollout relative" in charts["forecast: training against validation"]
        assert ">rankme<" in charts["forecast: health"]
        drift = charts["errors of imagination"]
        assert all(
            f">{label}<" in drift for label in ("imagined", "nothing changes", "real latents", "ratio of these two")
        )

    def test_the_first_searches_are_drawn(self, written: Path, template: Path) -> None:
        charts = dict(re.findall(r'<svg role="img" aria-label="([^"]+)"(.*?)</svg>', page_of(written)[0], re.DOTALL))
        image, text = (charts[f"the first search towards {kind} goals"] for kind in ("image", "text"))
        assert ">cost<" in image and ">cost<" in text
        assert "costs that were no number" in image and "costs that were no number" not in text
        read = read_runs(template).plans.searches["image"]
        assert read["cost"].nan_to_num(-1).tolist() == [[3, -1], [1, 2]] and read["evaluations"].tolist() == [8, 16]

    def test_what_the_models_heads_read_and_drew_is_shown_and_said(self, template: Path, tmp_path: Path) -> None:
        runs = read_runs(template)
        plain = str(imagination(runs))
        assert "2 rows each" in plain and "uncertainty" not in plain and "draws" not in plain
        drift = runs.drift | {"where_head_error": [0.1, 0.2, 0.3], "where_head_error_real": [0.1] * 3}
        furnished = replace(
            runs, drift=drift | {"uncertainty": [0.1, 0.2, 0.4]}, strips=["real", "nearest", "looks_head"]
        )
        text = str(imagination(furnished))
        assert "3 rows each" in text and "(3) what the model&#x27;s &#x27;looks&#x27; draws" in text
        assert all(f">{title}<" in text for title in ("uncertainty of the ensemble", "error of 'where', by a head"))

    def test_forecasting_follows_pretraining_on_one_axis(self, template: Path) -> None:
        panel = probe_panel(read_runs(template), "position_r2")
        lines = {line.label: dict(line.points) for line in panel.lines}
        assert panel.boundary == 300
        assert [*lines["pretrain"]] == [0, 100, 200, 300] and [*lines["forecast"]] == [300, 550, 800]
        assert lines["forecast"][800] == 0.983 and lines["pretrain"][300] == 0.7864
        assert lines["raw pixels"] == {0: 0.874, 800: 0.874} and lines["random init"] == {0: 0.612, 800: 0.612}
        assert set(lines["null"].values()) == {-0.012} and len(lines["null"]) == 6

    def test_headline_figures_stand_beside_their_controls(self, written: Path) -> None:
        tiles = re.findall(r'<div class="tile">(.*?)</div>', page_of(written)[0], re.DOTALL)
        lines = [re.sub(r"<[^>]+>", "", tile).split("\n") for tile in tiles]
        assert lines[0] == [
            "image goals",
            "93.5 %",
            "89.2 to 96.2 %",
            "at the last step 92.0 %",
            "random 4.5 %",
            "expert 99.5 %",
        ]
        assert lines[1] == [
            "text goals",
            "74.0 %",
            "64.6 to 81.6 %",
            "at the last step 71.0 %",
            "random 6.0 %",
            "expert 98.0 %",
        ]
        assert lines[2] == ["position, R²", "0.983", "0.973 to 0.991", "random init 0.612", "raw pixels 0.874"]
        assert lines[3][:4] == ["recall@1", "62.0 %", "61.0 to 62.8 %", "chance 5.5 %"]
        assert lines[4][:3] == ["RankMe", "38.4", "of 64 dimensions"] and lines[5][1] == "10 min 06 s"

    def test_text_is_escaped(self, runs: Path) -> None:
        bad = "<script>alert('$x$')</script>&"
        rows = [{"goal": bad, "policy": bad, "success": 0.5}]
        write_lines(runs / "plan" / "results.jsonl", rows)
        index = [{"file": "image-00.webp", "goal": "text", "sentence": f'{bad}" onload="', "success": True}]
        (runs / "plan" / "films" / "index.json").write_text(json.dumps(index))
        extra = [{"model": "forecast", "step": 1, "metric": bad, "value": 1.0}]
        write_lines(runs / "probe" / "results.jsonl", probe_rows() + extra)
        write_lines(runs / "pretrain" / "metrics.jsonl", [{"step": 1, f"train/{bad}": 1.0, f"val/{bad}": 2.0}])
        write_manifest(runs / "collect", "collect", environment=bad, config={"factors": {bad: bad}}, splits={bad: {}})
        report(str(runs))
        text, page = page_of(runs)
        assert "<script" not in text and text.count(escape(bad)) >= 6 and page.open == []
        assert not re.search(r'<img[^>]*" onload=', text)

    def test_the_same_runs_give_the_same_page(self, written: Path, runs: Path) -> None:
        report(str(runs))
        for name in ("report.html", "summary.json"):
            assert (runs / name).read_bytes() == (written / name).read_bytes()


def test_a_chart_that_is_a_file_of_its_own_can_be_read() -> None:
    chart = small_multiples([Panel("a", [Line("b", {1: 1.0, 2: 2.0})])], "what it shows")
    root = ElementTree.fromstring(standalone(chart))
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("aria-label") == "what it shows"
    links = [link for each in root.iter() if (link := each.get("{http://www.w3.org/1999/xlink}href"))]
    assert links and {link[1:] for link in links} <= {each.get("id") for each in root.iter()}


def test_where_x_doubles_its_points_are_equally_far_apart_and_y_is_as_it_is() -> None:
    chart = small_multiples([Panel("a", [Line("b", {4: 1.0, 8: 2.0, 16: 4.0})], scale="doubling")], "what it shows")
    (line,) = re.findall(r'<path d="M ([^"]*)" [^>]*stroke: #2f6db5', chart)
    (x0, y0), (x1, y1), (x2, y2) = ([float(number) for number in re.findall(r"[\d.]+", at)] for at in line.split("L"))
    assert x1 - x0 == pytest.approx(x2 - x1) and x1 > x0
    assert y1 - y2 == pytest.approx(2 * (y0 - y1))
    assert {">4<", ">8<", ">16<"} <= set(re.findall(r">\d+<", chart))


class TestInputs:
    def test_later_records_win_and_torn_lines_are_skipped(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        path.write_text(
            '{"step": 9, "a": 1.0, "epoch": 0}\n{"step": 9, "b": 2}\n{"step": 19, "a": 3.0}\n{"step": 29, "a"'
            '{"step": 9, "a": 5.0}\n{"step": 4, "a": 7.0}\n[1]\n{"step": null, "a": 1.0}\n{"step": 39, "a": 0.'
        )
        curves = read_curves(path)
        assert curves == {"a": {4: 7.0, 9: 1.0, 19: 3.0}, "b": {9: 2.0}}
        path.write_text(path.read_text() + '\n{"step": 9, "a": 6.0}\n')
        assert list(read_curves(path)["a"].items()) == [(4, 7.0), (9, 6.0), (19, 3.0)]

    def test_missing_files_are_named(self, runs: Path) -> None:
        names = ["plan/results.jsonl", "plan/films/text-01.webp", "probe/imagination.png", "probe/drift.json"]
        names += ["plan/plan.json", "probe/results.jsonl", "pretrain/metrics.jsonl", "forecast/metrics.jsonl"]
        for name in names:
            (runs / name).unlink()
        report(str(runs))
        said = re.findall(r'class="missing">(.*?)</p>', page_of(runs)[0])
        # The probes are missed twice: at the end and over the steps.
        assert len(said) == len(names) + 1 and all(any(name in line for line in said) for name in names)

    def test_stages_alone_are_enough(self, tmp_path: Path) -> None:
        for stage in STAGES:
            write_manifest(tmp_path / stage, stage)
        report(str(tmp_path))
        summary = summary_of(tmp_path)
        assert "plan/films/index.json" in page_of(tmp_path)[0]
        assert summary["planning"]["image"]["success"] is summary["peak_rss_gib"] is summary["health"]["dim"] is None
        assert summary_table(summary) and page_of(tmp_path)[1].open == []

    def test_a_stage_that_is_not_there_is_named_and_the_others_are_shown(
        self, runs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.rmtree(runs / "pretrain")
        report(str(runs))
        summary, (text, page) = json.loads((runs / "summary.json").read_text()), page_of(runs)
        assert summary["absent"] == {"pretrain": "not there"} and "pretrain (not there)" in capsys.readouterr().out
        assert re.search(r'class="missing">[^<]*these stages tell: pretrain \(not there\)<', text) and page.open == []
        assert summary["seconds"]["total"] == sum(SECONDS.values()) - SECONDS["pretrain"]
        assert summary["planning"]["image"]["success"] == 0.935 and summary["probe"]["position_r2"] == 0.983

    @pytest.mark.parametrize("stage", STAGES)
    @pytest.mark.parametrize("alone", [True, False])
    def test_any_stage_may_be_there_alone_or_not_at_all(self, tmp_path: Path, stage: str, alone: bool) -> None:
        there = [each for each in STAGES if (each == stage) == alone]
        for each in there:
            write_manifest(tmp_path / each, each, seconds=SECONDS[each])
        (tmp_path / next(each for each in STAGES if each not in there)).mkdir()
        report(str(tmp_path))
        summary = summary_of(tmp_path)
        assert list(summary["absent"]) == [each for each in STAGES if each not in there]
        assert next(iter(summary["absent"].values())) == "unfinished"
        assert summary["seconds"]["total"] == pytest.approx(sum(SECONDS[each] for each in there))
        assert page_of(tmp_path)[1].open == [] and summary["python"]

    def test_the_world_is_that_of_the_data_where_nothing_was_collected(self, tmp_path: Path) -> None:
        write_manifest(tmp_path / "forecast", "forecast", data={"shards": {"environment": "swm/PushT-v1"}})
        report(str(tmp_path))
        assert "swm/PushT-v1: what a model of it has learned" in page_of(tmp_path)[0]

    def test_a_folder_without_any_stage_is_refused_and_nothing_written(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="has no finished run of collect, pretrain"):
            report(str(tmp_path))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("line", ['{"goal": "image"', '{"goal": "image"}', "[3]"])
    def test_a_malformed_result_is_named(self, runs: Path, line: str) -> None:
        with open(runs / "plan" / "results.jsonl", "a") as file:
            file.write(line + "\n")
        with pytest.raises(UserError, match=r"results\.jsonl.* 9: "):
            report(str(runs))

    @pytest.mark.parametrize("trace", [[], {"image": [1]}, {"image": {"cost": ["x"]}}, {"image": {"cost": [[1], 2]}}])
    def test_a_malformed_trace_is_named(self, runs: Path, trace: object) -> None:
        (runs / "plan" / "plan.json").write_text(json.dumps(trace))
        with pytest.raises(UserError, match=r"plan\.json: expected tables of numbers"):
            report(str(runs))

    def test_films_elsewhere_are_not_read(self, runs: Path, tmp_path: Path) -> None:
        draw((8, 8), 1).save(tmp_path / "secret.webp")
        index = [{"file": "../../../secret.webp", "goal": "image", "sentence": None, "success": True}]
        (runs / "plan" / "films" / "index.json").write_text(json.dumps(index))
        assert read_runs(runs).plans.films
        report(str(runs))
        assert "data:image/webp" not in page_of(runs)[0]


class TestOnePlan:
    def test_a_run_of_plan_has_a_page_of_its_own(
        self, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        alone = Path(shutil.copytree(runs / "plan", tmp_path / "swm"))
        report(str(alone))
        text, page = page_of(alone)
        assert capsys.readouterr().out == f"report: {alone / 'report.html'}\n"
        report(str(runs))
        assert page.tables == page_of(runs)[1].tables[:1] and page.open == []
        assert text.count("data:image/webp") == 8 and "the first search towards image goals" in text
        assert "Not shown" not in text and not (alone / "summary.json").exists()
        for name in ("results.jsonl", "films/index.json", "plan.json"):
            (alone / name).unlink()
            report(str(alone))
            assert f"swm/{name}" in page_of(alone)[0]

    def test_so_has_one_towards_a_goal_of_ones_own(self, tmp_path: Path) -> None:
        goal, rows = "<b>the left room", []
        for number, there in enumerate((True, None)):
            row = {"episode": number, "seed": 7 + number, "steps": 9, "cost_first": 2.5, "cost_last": 0.125 * number}
            rows.append(row | {"there_first": False, "there_last": there, "film": f"films/episode-{number:02d}.webp"})
        write_lines(tmp_path / "episodes.jsonl", rows)
        (tmp_path / "films").mkdir()
        draw((8, 8), 1).save(tmp_path / "films" / "episode-00.webp")
        write_manifest(tmp_path, "plan --goal", config={"goal": goal, "model": "runs/a", "environment": "Rooms-v0"})
        report(str(tmp_path))
        text, page = page_of(tmp_path)
        assert page.tables[0][1:] == [
            ["0", "7", "9", "2.500", "0.000", "not there", "there"],
            ["1", "8", "9", "2.500", "0.125", "not there", "–"],
        ]
        assert text.count("data:image/webp") == 1 and "episode-01.webp" in text and page.open == []
        assert escape(goal) in text and goal not in text

    def test_a_run_of_another_stage_has_none(self, runs: Path) -> None:
        with pytest.raises(UserError, match="or the folder of a run of plan"):
            report(str(runs / "probe"))


def test_the_verb(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"--runs={runs}"]) == 0
    manifest = read_manifest(runs / "report", "report")
    assert manifest["config"] == {"runs": str(runs)} and manifest["seconds"] > 0
    assert main(["report", f"--runs={runs / 'nowhere'}"]) == 2
    assert "nowhere" in capsys.readouterr().err
