"""Intervals: equal to refits, cover what they claim to, and no bootstrap."""

import pytest
import torch

from jepa_wm.errors import UserError
from probes.alignment.intervals import interval, without
from probes.alignment.named import metric_named
from probes.alignment.permute import blocks_of_rows
from probes.metrics.mutual_knn import mutual_knn


def related(n, seed=0, share=0.8):
    generator = torch.Generator().manual_seed(seed)
    hidden, other = torch.randn(2, n, 5, generator=generator, dtype=torch.float64)
    mix = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return hidden @ mix[0], (share * hidden + (1 - share**2) ** 0.5 * other) @ mix[1]


@pytest.mark.parametrize("name", ["mutual_knn", "cycle_knn", "lcs_knn", "cka", "cka_biased", "cknna"])
@pytest.mark.parametrize("groups", [None, torch.arange(15).repeat(4)])
def test_leaving_out_a_block_is_a_refit(name, groups):
    x, y = related(60)
    x[50:] = x[:10]  # Duplicates, some of them left out with their twins and some without.
    metric = metric_named(name)
    blocks = blocks_of_rows(60, groups)
    keep = [torch.ones(60, dtype=torch.bool).index_fill(0, block, False) for block in blocks]
    refits = [metric.compare(metric.prepare(x[rows]), metric.prepare(y[rows])) for rows in keep]
    assert without(metric, x, y, blocks).tolist() == pytest.approx(refits, abs=1e-12)


def test_jackknife_of_blocks():
    x, y = related(60)
    metric = metric_named("mutual_knn", k=5)
    left_out = without(metric, x, y, blocks_of_rows(60))
    error = 2.0930 * (19 / 20 * (left_out - left_out.mean()).square().sum()).sqrt().item()
    value = mutual_knn(x, y, k=5).value
    assert interval(metric, x, y) == pytest.approx((value - error, value + error), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mutual_knn", "cka"])
@pytest.mark.parametrize("method", ["jackknife", "subsample"])
def test_interval_covers_the_expectation(name, method):
    metric = metric_named(name)
    runs = 40
    draws = [related(100, seed) for seed in range(runs)]
    mean = sum(metric.compare(*map(metric.prepare, views)) for views in draws) / runs
    found = [interval(metric, *views, method=method) for views in draws]
    covered = sum(low <= mean <= high for low, high in found)
    assert covered >= 0.9 * runs
    # Not by being wide: two standard deviations of the value would be exact. Lists of neighbours are no smooth function
    # of the rows, and what leaving out blocks says of them is too much.
    values = torch.tensor([(low + high) / 2 for low, high in found])
    widths = torch.tensor([(high - low) / 2 for low, high in found])
    assert 1.6 < widths.mean() / values.std() < (4.5 if name == "mutual_knn" else 2.8)


def test_episodes_widen_the_interval():
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(20).repeat_interleave(6)
    x, y = (rows.repeat_interleave(6, dim=0) for rows in related(20))
    x, y = (rows + 0.01 * torch.randn(rows.shape, generator=generator) for rows in (x, y))
    shuffled = torch.randperm(120, generator=generator)
    metric = metric_named("cka")
    whole = interval(metric, x[shuffled], y[shuffled], groups[shuffled])
    single = interval(metric, x[shuffled], y[shuffled])
    assert whole[1] - whole[0] > 1.3 * (single[1] - single[0])


def test_bootstrap_is_refused_because_it_raises_the_null():
    x, y = related(200, share=0)
    rows = torch.randint(200, (200,), generator=torch.Generator().manual_seed(0))
    assert mutual_knn(x, y).value < 0.08
    assert mutual_knn(x[rows], y[rows]).value > 0.12
    with pytest.raises(UserError, match=r"bootstrap.*each other's nearest neighbours.*\.1088"):
        interval(metric_named("mutual_knn"), x, y, method="bootstrap")
