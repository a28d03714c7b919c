"""Measurements on disk, and which checkpoints stand beside each other."""

import json
from pathlib import Path

import pyarrow.parquet
import pytest
import torch

from jepa_wm.errors import UserError
from probes.convergence.left_out import LeftOut
from probes.convergence.members import Member, lifted, partners
from probes.convergence.table import Row, read_table, write_table
from probes.neighbours import neighbours


def test_rows_come_back_as_they_were_from_json_and_from_parquet(tmp_path: Path) -> None:
    rows = [
        Row("alignment", "cka", "a", 10, 50, "3", "b", 12, "1", 0.1 + 0.2, -0.0, z=float("inf"), p=0.5, n=7),
        Row("spectrum", "eigenvalue", "a", value=float("nan"), rank=2),
    ]
    finite = [rows[0]._replace(z=None), rows[1]._replace(value=None)]
    write_table(tmp_path, rows, {"warnings": ["w"], "config": {"seed": 1}})
    assert read_table(tmp_path) == (finite, {"warnings": ["w"], "config": {"seed": 1}})
    assert "NaN" not in (tmp_path / "results.json").read_text()
    assert "z" not in json.loads((tmp_path / "results.json").read_text())["rows"][0]
    table = pyarrow.parquet.read_table(tmp_path / "results.parquet")
    assert [Row(**row) for row in table.to_pylist()] == finite
    # A column that is empty throughout still has its type: tables of several studies can be put together.
    assert str(table.schema.field("k").type) == "int64" and str(table.schema.field("low").type) == "double"


def test_checkpoints_stand_beside_those_of_the_nearest_share_of_training() -> None:
    a = [Member("a", step, share) for step, share in ((0, 0), (5, 50), (10, 100))]
    b = [Member("b", step, share) for step, share in ((0, 0), (30, 30), (60, 60), (90, 90), (100, 100))]
    state = [Member("state", None)]
    met = partners(a, b)
    assert [(x.share, y.share) for x, y, _ in met] == [(0, 0), (50, 30), (50, 60), (100, 90), (100, 100)]
    # The one with more checkpoints sets the pace, whichever was named first.
    assert [share for _, _, share in met] == [0, 30, 60, 90, 100]
    assert partners(b, a) == [(y, x, share) for x, y, share in met]
    assert partners(a, state) == [(each, state[0], each.share) for each in a]
    assert partners(state, a) == [(state[0], each, each.share) for each in a]


def test_a_single_checkpoint_stands_beside_all_of_another_run_at_their_shares() -> None:
    end, many = [Member("a", 7, 100)], [Member("b", step, share) for step, share in ((0, 0), (9, 100))]
    assert [share for _, _, share in partners(end, many)] == [share for _, _, share in partners(many, end)] == [0, 100]


def test_what_was_refused_is_said_once_for_each_reason() -> None:
    left_out = LeftOut()
    for what in "abcde":
        with left_out.noted(what):
            raise UserError("too few rows")
    with left_out.noted("f"):
        raise UserError("collapsed")
    with pytest.raises(ZeroDivisionError), left_out.noted("g"):
        raise ZeroDivisionError
    assert left_out.sentences() == ["left out: a, b, c and 2 more: too few rows", "left out: f: collapsed"]


def test_neighbours_of_a_state_are_those_nearest_to_it() -> None:
    state = 50 + 20 * torch.randn(80, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = state * torch.tensor([1.0, 5.0])
    apart = torch.cdist(*[(state - state.mean(dim=0)) / state.std(dim=0)] * 2).fill_diagonal_(9e9)
    wanted = apart.argsort(dim=1)[:, :5]
    assert (neighbours(lifted(state), 5) == wanted).double().mean() > 0.99
    assert (neighbours(state, 5) == wanted).double().mean() < 0.3
