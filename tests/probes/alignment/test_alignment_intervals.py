"""Intervals: equal to refits, cover what they claim to, and no bootstrap."""

import pytest
import torch

from jepa_wm.errors import UserError
from probes.alignment.intervals import interval, without
from probes.alignment.named import Metric, metric_named
from probes.alignment.permute import blocks_of_rows
from probes.metrics.mutual_knn import mutual_knn


def related(n, seed=0, share=0.8):
    generator = torch.Generator().manual_seed(seed)
    hidden, other = torch.randn(2, n, 5, generator=generator, dtype=torch.float64)
    mix = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return hidden @ mix[0], (share * hidden + (1 - share**2) ** 0.5 * other) @ mix[1]


@pytest.mark.parametrize("name", ["mutual_knn", "cycle_knn", "lcs_knn", "cka", "cka_biased", "cknna"])
@pytest.mark.parametrize("groups", [None, torch.arange(15).repeat(4), (torch.arange(60) ** 2 // 240)])
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
    assert interval(metric, x, y, method="jackknife") == pytest.approx((value - error, value + error), rel=1e-3)


def test_subsamples_know_the_error_of_a_mean():
    """Of a mean of the rows it is their deviation / sqrt(n), and of copies as many independent ones as there are."""
    rows = torch.randn(400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = Metric("mean", lambda x: x, lambda x, y: x.mean().item(), lambda x, y, order: 0.0, k=None)
    for copies in (1, 8):
        x, groups = rows[: 400 // copies].repeat_interleave(copies, dim=0), torch.arange(400) // copies
        low, high = interval(mean, x, x, groups, method="subsample")
        assert (low + high) / 2 == pytest.approx(x.mean().item())
        assert (high - low) / 2 == pytest.approx(
            1.96 * rows[: 400 // copies].std().item() / (400 / copies) ** 0.5, rel=0.3
        )


def test_subsamples_leave_out_fifty_random_quarters_of_the_episodes():
    groups = torch.arange(8).repeat(5)
    x = torch.randn(40, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.cat([x, groups[:, None]], dim=1)
    kept = []

    def compare(x, y):
        kept.append(x)
        return x[:, 0].square().mean().item()

    low, high = interval(Metric("other", lambda x: x, compare, lambda x, y, order: 0.0, 3), rows, rows, groups)
    *parts, whole = kept
    counts = torch.stack([part[:, 1].long().bincount(minlength=8) for part in parts])
    assert len(whole) == 40 and len(counts) == 50 and len(counts.unique(dim=0)) > 15
    assert ((counts == 5).sum(dim=1) == 6).all() and ((counts == 0).sum(dim=1) == 2).all()
    values = torch.stack([part[:, 0].square().mean() for part in parts])
    # Student's 2.3646 of 7 degrees of freedom; of 8 episodes 6 are kept, and 2 are left out.
    error = 2.3646 * (6 / 2) ** 0.5 * values.std().item()
    assert high - low == pytest.approx(2 * error, rel=1e-3)


@pytest.mark.parametrize("groups", [None, torch.arange(15).repeat(4)])
@pytest.mark.parametrize(
    ("name", "method"), [("mutual_knn", "jackknife"), ("cka", "jackknife"), ("lcs_knn", "subsample")]
)
def test_the_method_is_what_suits_the_metric_if_none_is_named(name, method, groups):
    x, y = related(60)
    metric = metric_named(name)
    found = interval(metric, x, y, groups)
    if name == "mutual_knn" and groups is None:
        assert found == mutual_knn(x, y).interval
    else:
        assert found == interval(metric, x, y, groups, method)
    others = [interval(metric, x, y, groups, other) for other in {"jackknife", "subsample"} - {method}]
    assert found not in others


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "k", "method", "most"),
    [
        ("mutual_knn", 5, None, 1.1),
        ("mutual_knn", 10, None, 1.1),
        ("cka", None, None, 1.2),
        ("cka", None, "subsample", 1.2),
        ("mutual_knn", 10, "jackknife", 1.5),
        ("cycle_knn", 5, None, 1.5),
        ("lcs_knn", 10, None, 1.5),
    ],
)
def test_interval_covers_the_expectation_and_is_no_wider_than_it_says(name, k, method, most):
    """The mean over independent samples of this n at this k is what the interval is of, known from 1000 of them."""
    metric, runs = metric_named(name, k), 200
    values = torch.tensor([metric.compare(*map(metric.prepare, related(100, seed))) for seed in range(1000)])
    low, high = torch.tensor([interval(metric, *related(100, seed), method=method) for seed in range(runs)]).T
    covered = ((low <= values.mean()) & (values.mean() <= high)).double().mean()
    width = (high - low).mean() / (2 * 1.96 * values.std())
    assert 0.9 <= covered <= (0.99 if most < 1.5 else 1)
    assert 0.9 <= width <= most


@pytest.mark.slow
def test_interval_of_unrelated_models_is_no_wider_than_chance():
    metric = metric_named("mutual_knn")
    values = torch.tensor([metric.compare(*map(metric.prepare, related(100, seed, share=0))) for seed in range(1000)])
    low, high = torch.tensor([interval(metric, *related(100, seed, share=0)) for seed in range(200)]).T
    assert 0.9 <= ((low <= values.mean()) & (values.mean() <= high)).double().mean() <= 0.99


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
