"""Statistics of compared policies, against enumeration, likelihoods and simulation."""

from itertools import product
from math import comb

import numpy as np
import pytest

from jepa_wm.control.paired import paired_interval, sign_flip_test
from jepa_wm.statistics import effective_size, holm, rate_interval, student, wilson


def differences(gained: int, lost: int, n: int) -> np.ndarray:
    return np.array([1] * gained + [-1] * lost + [0] * (n - gained - lost))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (7, 2), (4, 4), (0, 9), (30, 12)])
def test_with_each_episode_alone_the_test_is_mcnemars(gained: int, lost: int) -> None:
    discordant, least = gained + lost, min(gained, lost)
    tail = sum(comb(discordant, k) for k in range(least + 1)) / 2**discordant
    p = sign_flip_test(differences(gained, lost, 60), np.arange(60))
    assert p == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_groups_change_their_signs_together() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        values, groups = random.integers(-1, 2, 14), random.integers(0, 6, 14)
        sums = [values[groups == group].sum() for group in range(6)]
        totals = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=6)]
        expected = np.mean(np.array(totals) >= abs(values.sum()))
        assert sign_flip_test(values, groups) == pytest.approx(expected, rel=1e-12)
    # Twelve gains in one source are one gain.
    assert sign_flip_test(np.ones(12), np.zeros(12)) == 1.0
    assert sign_flip_test(np.ones(12), np.arange(12)) == pytest.approx(2 / 2**12)


@pytest.mark.parametrize(("gained", "lost", "n"), [(9, 3, 50), (1, 0, 44), (0, 0, 30), (2, 14, 40), (12, 0, 30)])
def test_the_ends_of_the_paired_interval_are_where_the_score_is_at_its_limit(gained: int, lost: int, n: int) -> None:
    values, groups = differences(gained, lost, n), np.arange(n)
    low, high = paired_interval(values, groups)
    assert low < (gained - lost) / n < high
    for end in (low, high):
        # The losses that are likeliest at this difference, by search over the likelihood.
        losses = np.linspace(max(0.0, -end), (1 - end) / 2, 2_000_001)[1:-1]
        gains, agreed = losses + end, 1 - 2 * losses - end
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [count * np.log(chance) for count, chance in ((gained, gains), (lost, losses)) if count]
            likelihood = sum(parts, (n - gained - lost) * np.log(agreed))
        best = losses[np.nanargmax(likelihood)]
        score = (gained - lost - n * end) / np.sqrt(n * (2 * best + end * (1 - end)))
        assert abs(score) == pytest.approx(1.96, rel=1e-3)
    flipped = paired_interval(-values, groups)
    assert flipped == pytest.approx((-high, -low), abs=1e-9)


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.02]) == [0.02] and holm([]) == []


class TestClusters:
    def test_trials_that_stand_alone_have_wilsons_interval(self) -> None:
        hits = np.arange(40) < 31
        assert rate_interval(hits, np.arange(40)) == wilson(31, 40)
        assert rate_interval(np.ones(9, dtype=bool), list("abcdefghi")) == wilson(9, 9)

    def test_copies_add_nothing_but_cost_a_little_for_few_groups(self) -> None:
        hits, groups = np.repeat(np.arange(30) < 21, 5), np.repeat(np.arange(30), 5)
        size = effective_size(hits, groups)
        # Five copies of thirty: thirty, but for the two ways of dividing by one less, and Student's factor.
        assert size == pytest.approx(30 * (29 / 30) / (149 / 150) * (student(149) / student(29)) ** 2)
        assert rate_interval(np.ones(150, dtype=bool), groups) == wilson(30, 30)

    def test_groups_that_are_more_alike_than_chance_do_not_narrow_it(self) -> None:
        hits, groups = np.tile([True, False], 20), np.repeat(np.arange(20), 2)
        assert effective_size(hits, groups) == pytest.approx(40 * (student(39) / student(19)) ** 2)

    def test_students_quantile(self) -> None:
        for freedom, published in ((3, 3.1824), (4, 2.7764), (9, 2.2622), (29, 2.0452)):
            assert student(freedom) == pytest.approx(published, rel=0.01)

    def test_the_interval_covers_the_truth_where_wilsons_own_does_not(self) -> None:
        random, covered, plain = np.random.default_rng(1), 0, 0
        groups = np.repeat(np.arange(15), 6)
        for _ in range(600):
            # Rates of groups are Beta(2.1, .9): a mean of .7 and a correlation of 1/4 within a group.
            hits = random.random(90) < np.repeat(random.beta(2.1, 0.9, 15), 6)
            (low, high), (left, right) = rate_interval(hits, groups), wilson(int(hits.sum()), 90)
            covered, plain = covered + (low <= 0.7 <= high), plain + (left <= 0.7 <= right)
        assert 0.92 <= covered / 600 <= 0.99 and plain / 600 < 0.88
