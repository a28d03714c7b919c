"""Sweeps over k and n: known behaviour of mutual kNN, and rows that JSON can hold."""

import json
from itertools import pairwise

import pytest
import torch

from jepa_wm.errors import UserError
from probes.alignment.sweeps import k_sweep, n_sweep
from probes.metrics.mutual_knn import mutual_knn


def related(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 6, generator=generator)
    return [hidden @ torch.randn(6, 16, generator=generator) + torch.randn(n, 16, generator=generator) for _ in "xy"]


def test_mutual_knn_falls_with_n_at_fixed_k_and_stays_at_fixed_share():
    x, y = related(1000)
    ns = (250, 500, 1000)
    at_k = [row["value"] for row in n_sweep("mutual_knn", x, y, ns, k=10, repeats=3)]
    at_share = [row["value"] for row in n_sweep("mutual_knn", x, y, ns, share=0.04, repeats=3)]
    assert at_k[0] == pytest.approx(at_share[0])
    assert all(before - after > 0.03 for before, after in pairwise(at_k))
    assert max(at_share) - min(at_share) < 0.02


def test_rows_of_the_n_sweep():
    x, y = related(60)
    rows = json.loads(json.dumps(n_sweep("mutual_knn", x, y, (30, 60), share=0.1)))
    assert [(row["k"], row["n"]) for row in rows] == [(3, 30), (6, 60)]
    assert rows[0]["low"] < rows[0]["value"] < rows[0]["high"]
    assert rows[1]["low"] == rows[1]["value"] == rows[1]["high"] == mutual_knn(x, y, k=6).value
    assert rows[1]["effect"] == (rows[1]["value"] - rows[1]["null"]) / (1 - rows[1]["null"])
    assert n_sweep("cka", x, y, (60,))[0]["k"] is None
    assert n_sweep("mutual_knn", x, y, (60,))[0]["k"] == 10


def test_rows_of_the_k_sweep():
    x, y = related(60)
    rows = json.loads(json.dumps(k_sweep("mutual_knn", x, y, (2, 20))))
    assert [row["value"] for row in rows] == [mutual_knn(x, y, k=k).value for k in (2, 20)]
    assert [row["null"] for row in rows] == pytest.approx([2 / 59, 20 / 59], abs=0.01)
    assert all(row["low"] < row["value"] < row["high"] for row in rows)


def test_bad_sweeps_are_refused():
    x, y = related(60)
    with pytest.raises(UserError, match="one of them"):
        n_sweep("mutual_knn", x, y, (30,), k=3, share=0.1)
    with pytest.raises(UserError, match=r"got sizes \[7, 61\]"):
        n_sweep("mutual_knn", x, y, (7, 30, 61))
    with pytest.raises(UserError, match="cka, which has no neighbours"):
        k_sweep("cka", x, y, (3,))
