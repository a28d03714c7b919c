"""CKA in one pass is the dense value whatever the shards, the processes and the mean."""

import pytest
import torch

from jepa_wm.errors import UserError
from probes.centring import mean
from probes.hsic import hsic, moved, sums_of
from probes.metrics.cka import cka
from probes.streaming import StreamingCKA


def views(n=400, dx=7, dy=300, seed=0, offset=0.0):
    """Two views in float32 of a hidden state that drifts, so that parts differ from the whole; dy has two panels."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 5, generator=generator) + torch.linspace(-1, 1, n)[:, None]
    x = hidden @ torch.randn(5, dx, generator=generator) + torch.randn(n, dx, generator=generator)
    y = hidden @ torch.randn(5, dy, generator=generator) + 3 * torch.randn(n, dy, generator=generator)
    return x + offset, y - offset


def streamed(x, y, sizes, rows=20, blocks=20):
    stream = StreamingCKA(x.shape[1], y.shape[1], blocks, rows)
    for batch in zip(x.split(sizes), y.split(sizes), strict=True):
        stream.add(*batch)
    return stream


def dense(x, y):
    """The unbiased CKA as it is written for kernel matrices, in float64 on centred rows."""

    def of(k, m):
        n = len(k)
        total = k.sum() * m.sum() / ((n - 1) * (n - 2))
        return (k * m).sum() + total - 2 * (k @ m).sum() / (n - 2)

    k, m = ((z @ z.T).fill_diagonal_(0) for z in (part.double() - part.double().mean(dim=0) for part in (x, y)))
    return (of(k, m) / (of(k, k) * of(m, m)).sqrt()).item()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [[400], [1] * 400, [7, 300, 93], [390, 10]])
def test_any_sharding_gives_the_dense_value(seed, sizes):
    x, y = views(seed=seed)
    x[200:210], y[200:210] = x[:10], y[:10]
    score = streamed(x, y, sizes).score()
    assert score.value == pytest.approx(dense(x, y), abs=1e-10)
    assert score.null == 0
    assert score.n == 400


def test_batches_do_not_move_the_interval_and_20_blocks_are_those_of_cka():
    x, y = views()
    score = streamed(x, y, [33] * 12 + [4]).score()
    assert score.interval == pytest.approx(cka(x, y).interval, abs=1e-10)
    # Ten blocks of runs of 20 rows: rows 0 to 19 and 200 to 219 are left out together, and so on.
    gone = [torch.cat([torch.arange(b, b + 20), torch.arange(b + 200, b + 220)]) for b in range(0, 200, 20)]
    keep = [torch.tensor(sorted({*range(400)} - {*rows.tolist()})) for rows in gone]
    refits = torch.tensor([dense(x[rows], y[rows]) for rows in keep], dtype=torch.float64)
    error = 1.96 * (9 * refits.var(correction=0)).sqrt().item()
    score = streamed(x, y, [150, 250], blocks=10).score()
    assert score.interval == pytest.approx((score.value - error, score.value + error), abs=1e-9)


def test_a_large_common_mean_costs_no_digits():
    x, y = views(offset=3000.0)
    assert streamed(x, y, [50] * 8).score().value == pytest.approx(dense(x, y), abs=1e-10)
    shards = [streamed(*part, [50] * 4) for part in zip(x.split(200), y.split(200), strict=True)]
    shards[0].merge(shards[1])
    assert shards[0].score().value == pytest.approx(dense(x, y), abs=1e-10)


@pytest.mark.parametrize("symmetric", [False, True])
def test_sums_move_with_the_origin(symmetric):
    x, y = (part.double() for part in views(n=30, dx=4, dy=3))
    y = x if symmetric else y
    p, q = torch.arange(4.0).double(), torch.arange(4.0).double()[: y.shape[1]]
    x_moved = x - p
    want = sums_of(x_moved, x_moved if symmetric else y - q)
    for got, expected in zip(moved(sums_of(x, y), p, q), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-9)
    assert hsic(want).item() == pytest.approx(hsic(sums_of(x, y)).item(), rel=1e-9)


def test_merging_adds_block_to_block_and_leaves_the_other_alone():
    x, y = views()
    one, two = (streamed(*part, [40] * 5) for part in zip(x.split(200), y.split(200), strict=True))
    before = two.score()
    one.merge(two)
    assert two.score() == before
    # Both filled their first 10 blocks with 20 rows each, as one stream with 10 blocks does.
    whole = streamed(x, y, [400], blocks=10).score()
    assert one.score().value == pytest.approx(whole.value, abs=1e-12)
    assert one.score().interval == pytest.approx(whole.interval, abs=1e-10)
    fresh = StreamingCKA(7, 300, rows=20)
    fresh.merge(one)
    assert fresh.score().value == pytest.approx(whole.value, abs=1e-12)
    fresh.add(x[:40], y[:40])
    again = dense(torch.cat([x, x[:40]]), torch.cat([y, y[:40]]))
    assert fresh.score().value == pytest.approx(again, abs=1e-10)


def on_a_rank(rank, x, y):
    """The first rank has 150 rows, the second the other 250; then the first alone has any."""
    stream = StreamingCKA(x.shape[1], y.shape[1], rows=10)
    part = slice(0, 150) if rank == 0 else slice(150, 400)
    stream.add(x[part], y[part])
    alone = StreamingCKA(x.shape[1], y.shape[1], rows=10)
    if rank == 0:
        alone.add(x, y)
    before = stream.score()
    return stream.reduced().score(), alone.reduced().score(), stream.score() == before


def test_two_processes_add_up_to_one(on_two_ranks):
    x, y = views(offset=100.0)
    for split, alone, untouched in on_two_ranks(on_a_rank, x, y):
        assert split.value == pytest.approx(dense(x, y), abs=1e-10)
        assert alone.value == pytest.approx(dense(x, y), abs=1e-10)
        assert split.n == alone.n == 400
        assert untouched
    both = streamed(x[:150], y[:150], [150], rows=10)
    both.merge(streamed(x[150:], y[150:], [250], rows=10))
    assert split.interval == pytest.approx(both.score().interval, abs=1e-10)


def test_one_process_reduces_to_a_copy():
    x, y = views()
    stream = streamed(x, y, [400])
    reduced = stream.reduced()
    stream.add(x[:9] + 5, y[:9])
    assert reduced.score().value == pytest.approx(dense(x, y), abs=1e-10)


@pytest.mark.slow
def test_jackknife_covers():
    x, y = views(n=100 * 120, dx=6, dy=5)
    # Drift aside, which would make the repeats differ.
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    scores = [cka(*part) for part in zip(x[order].split(100), y[order].split(100), strict=True)]
    truth = cka(x, y).value
    assert sum(score.interval[0] <= truth <= score.interval[1] for score in scores) >= 0.9 * len(scores)


def test_what_is_constant_scores_zero_and_the_mean_of_it_is_exact():
    x, _ = views()
    constant = torch.full((400, 300), 0.1)
    assert (mean(constant.double()) == constant[0].double()).all()
    assert streamed(x, constant, [30] * 13 + [10]).score()[:3] == (0.0, 0.0, (0.0, 0.0))


def test_bad_use_is_refused():
    x, y = views()
    with pytest.raises(UserError, match="at least 2 blocks"):
        StreamingCKA(7, 300, blocks=1)
    stream = StreamingCKA(7, 300, rows=500)
    with pytest.raises(UserError, match=r"widths \(6, 300\), expected \(7, 300\)"):
        stream.add(x[:, :6], y)
    with pytest.raises(UserError, match="same samples"):
        stream.add(x, y[:9])
    with pytest.raises(UserError, match="0 rows in 0 blocks"):
        stream.score()
    stream.add(x, y)
    with pytest.raises(UserError, match=r"400 rows in 1 blocks of 500 .* fewer `rows`"):
        stream.score()
    with pytest.raises(UserError, match="merge: got 10 blocks and 20"):
        stream.merge(StreamingCKA(7, 300, blocks=10))
    y[3, 2] = float("nan")
    with pytest.raises(UserError, match="y: row 3"):
        stream.add(x, y)
