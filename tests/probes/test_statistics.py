import torch

from probes.statistics import crossed_interval, interval, majority_rate, resample_groups, shuffle_groups


def test_shuffle_keeps_each_group_together_and_in_order():
    groups = torch.tensor([5, 5, 2, 2, 2, 9, 7, 7])
    seen = set()
    for seed in range(20):
        order = shuffle_groups(groups, torch.Generator().manual_seed(seed))
        assert sorted(order.tolist()) == list(range(8))
        moved = torch.unique_consecutive(groups[order])
        assert len(moved) == 4
        assert all((order[groups[order] == g].diff() == 1).all() for g in (5, 2, 7))
        seen.add(tuple(moved.tolist()))
    assert len(seen) > 10


def test_bootstrap_of_a_mean_has_its_standard_error():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200, 1, generator=generator, dtype=torch.float64).repeat_interleave(5, 0)
    groups = torch.arange(200).repeat_interleave(5)
    means = resample_groups(values, groups, generator, draws=4000)[:, 0] / 1000
    assert abs(means.std() / (values.std() / 200**0.5) - 1) < 0.05
    low, high = interval(means)
    assert abs((high - low) / (2 * 1.96 * means.std()) - 1) < 0.05


def test_the_interval_of_trainings_on_the_same_episodes_is_as_wide_as_the_episodes_differ():
    """What is hard is hard for all trainings: three of them do not make a hundred episodes three hundred."""
    generator = torch.Generator().manual_seed(0)
    hard = torch.randn(1, 100, generator=generator, dtype=torch.float64)
    low, high = crossed_interval(hard.expand(3, 100), generator, draws=4000)
    assert abs((high - low) / (2 * 1.96 * hard.std() / 100**0.5) - 1) < 0.06
    seeds = torch.randn(50, 1, generator=generator, dtype=torch.float64)
    low, high = crossed_interval(seeds.expand(50, 7), generator, draws=4000)
    assert abs((high - low) / (2 * 1.96 * seeds.std() / 50**0.5) - 1) < 0.06


def test_majority_is_of_training():
    assert majority_rate(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 0, 1])) == 0.25
