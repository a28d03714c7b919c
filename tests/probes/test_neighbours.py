"""Exact neighbours against a sort of all cosines, whoever searches."""

import sys

import pytest
import torch
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes.neighbours import neighbours, search


def brute(x, y, k, own=False):
    """Indices (n, k) by (-cosine, index), from all cosines in float64."""
    cosine = (F.normalize(x.double(), dim=1) @ F.normalize(y.double(), dim=1).T).round(decimals=12)
    if own:
        cosine.fill_diagonal_(-9)
    return cosine.argsort(dim=1, descending=True, stable=True)[:, :k]


def with_duplicates(seed, n=300, d=12, dtype=torch.float32):
    """Rows of which a third are copies of others; row 7 is there forty times, more than are ever candidates."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    x[200:260] = x[:60]
    x[260:] = x[7]
    return x[torch.randperm(n, generator=torch.Generator().manual_seed(seed + 1))]


@pytest.fixture(params=["faiss", "torch"])
def searcher(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setitem(sys.modules, "faiss", None)
    return request.param


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_neighbours_are_the_sort_of_all_cosines_also_among_duplicates(searcher, seed, dtype):
    x = with_duplicates(seed, dtype=dtype)
    assert torch.equal(neighbours(x, 10), brute(x, x, 10, own=True))
    assert torch.equal(neighbours(x[:50], 10, x), brute(x[:50], x, 10))


def test_cosines_too_near_for_float32_are_ordered_in_float64(searcher):
    """Frames of one slow episode: all cosines above 1 - 1e-7."""
    angle = torch.arange(400, dtype=torch.float64)[torch.randperm(400)] * 1e-5
    x = torch.stack([angle.cos(), angle.sin(), torch.zeros(400, dtype=torch.float64)], dim=1)
    distance = (angle[:, None] - angle).abs().fill_diagonal_(9)
    found = neighbours(x, 2)
    away = distance.gather(1, found)
    assert away.max() < 2.1e-5
    assert torch.equal(found, brute(x, x, 2, own=True))


def test_chunks_do_not_show(searcher, monkeypatch):
    x = with_duplicates(4)
    whole = search(x, x, 7)
    monkeypatch.setattr("probes.neighbours.CHUNK", 2000)
    pieces = search(x, x, 7)
    assert torch.equal(whole[1], pieces[1])
    assert torch.allclose(whole[0], pieces[0], rtol=0, atol=1e-12)


def test_length_of_rows_does_not_matter_and_a_zero_row_is_far_from_all(searcher):
    x = with_duplicates(5, dtype=torch.float64)
    scale = torch.logspace(-20, 20, 300, dtype=torch.float64)[:, None]
    assert torch.equal(neighbours(scale * x, 10), neighbours(x, 10))
    x[3] = 0
    assert neighbours(x, 4)[3].tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    "x", [torch.ones(20, 3), torch.zeros(20, 3), torch.arange(1.0, 21)[:, None] * torch.tensor([[1.0, 2.0, 0.5]])]
)
def test_rows_that_all_point_the_same_way_are_refused(x):
    with pytest.raises(UserError, match="point the same way"):
        neighbours(x, 3)


def test_bad_input_is_refused():
    x = torch.randn(20, 3)
    for k in (0, 20, 25):
        with pytest.raises(UserError, match=f"k: got {k} neighbours, expected 1 to 19.*lower k or use more rows"):
            neighbours(x, k)
    with pytest.raises(UserError, match="gallery 4; expected the same"):
        neighbours(x, 2, torch.randn(20, 4))
    x[5, 1] = float("nan")
    with pytest.raises(UserError, match="features: row 5 holds NaN"):
        neighbours(x, 2)
    with pytest.raises(UserError, match="gallery: row 5 holds NaN"):
        neighbours(torch.randn(20, 3), 2, x)
