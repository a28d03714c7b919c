"""Metrics arrive whole: in JSON lines, in a table without a step twice, in TensorBoard's events."""

import csv
import json
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from jepa_wm.errors import UserError
from pretrain.loggers import CsvTable, JsonLines, TensorBoard, WeightsAndBiases
from pretrain.loggers.json_lines import read_records


def table(folder: Path) -> list[list[str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.reader(file))


def events(folder: Path) -> list[Event]:
    """TensorBoard's own format: a length, a checksum, an event and its checksum, over and over."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[12 + length + 4 :]
    return found


def test_the_table_has_a_row_a_step_and_the_last_record_wins(tmp_path: Path) -> None:
    lines, comma = JsonLines(tmp_path), CsvTable(tmp_path)
    records: list[tuple[int, dict[str, float]]] = [
        (0, {"train/loss": 3.0}),
        (2, {"train/loss": 2.0}),
        (2, {"val/loss": 9.0}),
        # A resumed run repeats a step, and measures more.
        (1, {"train/loss": 2.5}),
        (2, {"train/loss": 2.25, "a/new": 1.0}),
    ]
    for step, metrics in records:
        lines.log_metrics(metrics, step)
        comma.log_metrics(metrics, step)
    assert table(tmp_path) == [["step", "train/loss", "val/loss"], ["0", "3.0", ""], ["2", "2.0", "9.0"]]
    comma.finalize("success")
    assert table(tmp_path) == [
        ["step", "a/new", "train/loss", "val/loss"],
        ["0", "", "3.0", ""],
        ["1", "", "2.5", ""],
        ["2", "1.0", "2.25", "9.0"],
    ]


def test_a_torn_line_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "x": 1.0}\n{"step": 1, "x"')
    lines = JsonLines(tmp_path)
    lines.log_metrics({"x": 2.0}, 1)
    lines.log_metrics({"x": 3.0}, 2)
    assert read_records(path) == {0: {"x": 1.0}, 1: {"x": 2.0}, 2: {"x": 3.0}}
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()[2:]] == [1, 2]
    assert read_records(tmp_path / "none.jsonl") == {}


def test_nothing_is_written_before_the_first_record(tmp_path: Path) -> None:
    for logger in (JsonLines(tmp_path / "run"), CsvTable(tmp_path / "run"), TensorBoard(tmp_path / "run")):
        logger.finalize("failed")
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_scalars_and_hides_what_a_resumed_run_repeats(tmp_path: Path) -> None:
    first = TensorBoard(tmp_path)
    for step in range(4):
        first.log_metrics({"train/loss": step / 2, "epoch": 0}, step)
    first.finalize("failed")
    resumed = TensorBoard(tmp_path)
    resumed.log_metrics({"train/loss": 7.0}, 2)
    resumed.finalize("success")
    found = events(tmp_path)
    scalars = [(event.step, value.tag, value.simple_value) for event in found for value in event.summary.value]
    assert sorted(scalars) == [
        (0, "train/loss", 0.0),
        (1, "train/loss", 0.5),
        (2, "train/loss", 1.0),
        (2, "train/loss", 7.0),
        (3, "train/loss", 1.5),
    ]
    # A session that starts at step 2 tells TensorBoard to drop what other files have from there on.
    starts = [event.step for event in found if event.session_log.status == 1]
    assert 2 in starts


def test_weights_and_biases_names_the_extra_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pretrain.loggers.weights_and_biases.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jepa_wm\[wandb\]'"):
        WeightsAndBiases(tmp_path, "project")


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_is_resumed_goes_on_in_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for step in range(2):
        logger = WeightsAndBiases(tmp_path / "run", "project")
        assert (tmp_path / "run").exists() == (step > 0)
        logger.log_metrics({"train/loss": 1.0}, step)
        logger.finalize("success")
    name = json.loads((tmp_path / "run" / "wandb.json").read_text())["id"]
    assert {path.name for path in (tmp_path / "run").rglob("run-*.wandb")} == {f"run-{name}.wandb"}
