"""The order of an epoch: a function of seed and epoch, each sample once, mixed within windows and in exact shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_wm.data.order import PERIOD, Mixed, Shuffled, Stored
from jepa_wm.data.share import steps_of
from jepa_wm.errors import UserError

UNEVEN = [7, 1, 0, 30, 12, 2]


def whole(order, epoch):
    return order.at(epoch, 0, len(order))


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=8).filter(any),
    st.integers(1, 40),
    st.integers(0, 3),
    st.data(),
)
def test_each_sample_once_and_any_part_is_a_part_of_the_whole(counts, window, epoch, data):
    order = Shuffled(counts, seed=3, window=window)
    rows = whole(order, epoch)
    assert sorted(rows[:, 2].tolist()) == list(range(sum(counts)))
    assert (rows[:, 0] == 0).all() and (rows[:, 1] == epoch).all()
    start = data.draw(st.integers(0, len(order)))
    stop = data.draw(st.integers(start, len(order)))
    np.testing.assert_array_equal(order.at(epoch, start, stop), rows[start:stop])


def test_epochs_and_seeds_differ_and_calls_do_not():
    order = Shuffled([50] * 4, seed=1, window=64)
    first, second = whole(order, 0)[:, 2], whole(order, 1)[:, 2]
    assert (first != second).any()
    assert (first != whole(Shuffled([50] * 4, seed=2, window=64), 0)[:, 2]).any()
    np.testing.assert_array_equal(whole(order, 0)[:, 2], first)
    np.testing.assert_array_equal(whole(Shuffled([50] * 4, seed=1, window=64), 1)[:, 2], second)


def test_a_single_shard_comes_in_another_order_in_each_epoch_and_window():
    order = Shuffled([64], seed=1, window=32)
    first, second = whole(order, 0)[:, 2], whole(order, 1)[:, 2]
    assert (first != second).any() and sorted(first[:32]) == list(range(32))
    assert (first[:32] + 32 != first[32:]).any()


def test_a_window_holds_few_shards_which_change_with_the_epoch():
    counts, window = [100] * 50, 400
    order = Shuffled(counts, seed=0, window=window)
    shards = {
        epoch: [set(order.at(epoch, i, i + window)[:, 2] // 100) for i in range(0, 5000, window)] for epoch in (0, 1)
    }
    assert max(map(len, shards[0])) <= 5
    assert shards[0] != shards[1]
    # Neighbours in the order come from different shards about as often as in a perfect shuffle of 4.
    numbers = whole(order, 0)[:, 2] // 100
    assert 0.6 < (numbers[1:] != numbers[:-1]).mean() < 0.9


def test_a_window_over_everything_is_a_uniform_shuffle():
    places = np.array([whole(Shuffled([5, 5], seed, window=10), 0)[:, 2].argmin() for seed in range(2000)])
    # Where sample 0 lands: each of 10 places 200 times, give or take 4.5 standard deviations.
    assert np.abs(np.bincount(places, minlength=10) - 200).max() < 60


def test_stored_order_is_as_stored():
    assert Stored(7).at(5, 2, 5).tolist() == [[0, 0, 2], [0, 0, 3], [0, 0, 4]]


def test_a_mixture_has_exact_shares_and_goes_through_its_sources_again():
    sources = [Stored(40), Shuffled([30, 30], seed=1, window=16)]
    order = Mixed(sources, [3, 1], seed=5)
    assert len(order) == 100
    rows = np.concatenate([whole(order, epoch) for epoch in range(20)])
    assert np.bincount(rows[:, 0]).tolist() == [1500, 500]
    assert np.bincount(rows[:PERIOD, 0]).tolist() == [750, 250]
    shuffled = rows[rows[:, 0] == 1]
    for number, epoch in enumerate(shuffled[:480].reshape(8, 60, 3)):
        np.testing.assert_array_equal(epoch[:, 1:], whole(sources[1], number)[:, 1:])
    assert rows[rows[:, 0] == 0][:, 2].tolist() == (list(range(40)) * 38)[:1500]


@given(st.integers(0, 5), st.integers(0, 70), st.integers(0, 70))
def test_any_part_of_a_mixture_is_a_part_of_the_whole(epoch, a, b):
    order = Mixed([Stored(3), Stored(50), Shuffled([9, 8], 0, 4)], [0.2, 0.5, 0.3], seed=5)
    start, stop = sorted((a, b))
    np.testing.assert_array_equal(order.at(epoch, start, stop), whole(order, epoch)[start:stop])
    before = np.concatenate([whole(order, earlier) for earlier in range(epoch)] + [whole(order, epoch)[:start]])
    assert order.drawn(epoch, start).tolist() == np.bincount(before[:, 0], minlength=3).tolist()


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1], [0, 0], [1, 1e-5], [float("nan"), 1]])
def test_weights_that_make_no_mixture(weights):
    with pytest.raises(UserError, match="weights of the mixture"):
        Mixed([Stored(3), Stored(4)], weights, seed=0)


@given(st.integers(0, 30), st.integers(0, 60), st.integers(1, 5), st.integers(1, 6), st.booleans())
def test_ranks_share_the_positions_and_make_the_same_number_of_steps(begin, more, size, world, full):
    end = begin + more
    ranks = [steps_of(begin, end, size, rank, world, full) for rank in range(world)]
    assert len({len(steps) for steps in ranks}) == 1
    interleaved = [share for step in zip(*ranks, strict=True) for share in step]
    positions = [position for start, stop, _ in interleaved for position in range(start, stop)]
    assert positions == list(range(begin, begin + len(positions)))
    sizes = [stop - start for start, stop, _ in interleaved]
    ends = [{end for _, _, end in step} for step in zip(*ranks, strict=True)]
    assert all(len(each) == 1 for each in ends) and [max(each) for each in ends] == sorted(max(each) for each in ends)
    if positions:
        assert ends[-1] == {positions[-1] + 1}
    if full:
        assert set(sizes) <= {size} and more - len(positions) < size * world
    else:
        assert len(positions) == (more if more >= world else 0)
        assert all(1 <= each <= size + 1 for each in sizes)
        assert all(each == size for each in sizes[: -2 * world])


def test_steps_by_hand():
    assert steps_of(0, 10, 2, 0, 2, full=False) == [(0, 2, 4), (4, 6, 8), (8, 9, 10)]
    assert steps_of(0, 10, 2, 1, 2, full=False) == [(2, 4, 4), (6, 8, 8), (9, 10, 10)]
    assert steps_of(0, 9, 2, 0, 2, full=False) == [(0, 2, 4), (4, 7, 9)]
    assert steps_of(0, 9, 2, 1, 2, full=False) == [(2, 4, 4), (7, 9, 9)]
    assert steps_of(0, 9, 2, 1, 2, full=True) == [(2, 4, 4), (6, 8, 8)]
    assert steps_of(0, 1, 2, 0, 2, full=False) == []
    assert steps_of(6, 10, 2, 0, 1, full=False) == [(6, 8, 8), (8, 10, 10)]
