"""Under the null p is uniform and the search over layers is paid for; episodes are permuted whole."""

import pytest
import torch

from jepa_wm.errors import UserError
from probes.alignment.calibrate import calibrate
from probes.alignment.maps import layer_map
from probes.alignment.permute import blocks_of_rows, orders, same_length
from probes.alignment.unrelated import distance_to_uniform, p_of_unrelated


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mutual_knn", "cka"])
def test_p_of_unrelated_models_is_uniform_over_all_layer_pairs(metric):
    runs = 100
    p = p_of_unrelated(metric, (2, 3), n=32, runs=runs, permutations=39)
    # The 1 % point of the distance, and the step of a p by 39 permutations.
    assert distance_to_uniform(p) < 1.63 / runs**0.5 + 1 / 40
    assert (p <= 0.05).double().mean() <= 0.05 + 2.6 * (0.05 * 0.95 / runs) ** 0.5


def test_distance_to_uniform_by_hand():
    assert distance_to_uniform(torch.tensor([0.5])) == pytest.approx(0.5)
    assert distance_to_uniform(torch.tensor([0.9, 0.2, 0.3])) == pytest.approx(2 / 3 - 0.3)
    assert distance_to_uniform(torch.arange(1, 101).double() / 100) == pytest.approx(0.01)


def test_without_the_correction_a_search_would_find_something():
    # 12 pairs at their null: each held against its own permutations, and all against the best of all.
    draws = torch.randn(200, 40, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone, corrected = [], []
    for values, *null in (run.split(1) for run in draws):
        null = torch.cat(null)
        corrected.append(calibrate(values[0], null)[2].min().item())
        flat, flat_null = values.view(12, 1, 1), null.view(39, 12, 1, 1)
        alone.append(min(calibrate(flat[i], flat_null[:, i])[2].item() for i in range(12)))
    assert sum(p <= 0.05 for p in alone) > 0.3 * 200
    assert sum(p <= 0.05 for p in corrected) <= 0.05 * 200 + 2.6 * (0.05 * 0.95 * 200) ** 0.5


def episodes(count, length, generator):
    """Smooth walks, (count * length, 2), and the episode of each row."""
    steps = torch.randn(count, length, 2, generator=generator)
    walk = 3 * torch.randn(count, 1, 2, generator=generator) + 0.3 * steps.cumsum(dim=1)
    return walk.flatten(0, 1), torch.arange(count).repeat_interleave(length)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mutual_knn", "cka"])
def test_only_whole_episodes_are_exchangeable(metric):
    generator = torch.Generator().manual_seed(5)
    found = {"rows": [], "episodes": []}
    for run in range(80):
        (x, groups), (y, _) = (episodes(12, 8, generator) for _ in range(2))
        found["episodes"].append(layer_map(metric, [x], [y], 19, groups, seed=5000 + run).score.p <= 0.05)
        if run < 20:
            found["rows"].append(layer_map(metric, [x], [y], 19, seed=5000 + run).score.p <= 0.05)
    assert sum(found["rows"]) > 0.8 * 20
    assert sum(found["episodes"]) <= 0.05 * 80 + 2.6 * (0.05 * 0.95 * 80) ** 0.5


def test_orders_of_groups_keep_them_whole_and_exchange_equals():
    groups = torch.tensor([7, 7, 2, 2, 2, 7, 9, 9, 4, 4, 4, 1, 1, 1, 3, 3])
    groups = groups.roll(3)
    found = orders(16, 50, groups)
    assert len(found.unique(dim=0)) > 20
    assert torch.equal(found.sort(dim=1).values, torch.arange(16).expand(50, 16))
    for order in found:
        for group in groups.unique():
            rows = (groups == group).nonzero()[:, 0]
            source = groups[order[rows]]
            assert (source == source[0]).all()
            assert torch.equal(order[rows], (groups == source[0]).nonzero()[:, 0])


def test_all_orders_of_groups_are_equally_likely():
    found = orders(8, 4800, torch.arange(4).repeat_interleave(2))[:, ::2]
    counts = found.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 24
    # Chi squared with 23 degrees of freedom: its .999 point is 49.7.
    assert ((counts - 200) ** 2 / 200).sum() < 49.7


def test_groups_that_cannot_be_exchanged_are_refused():
    with pytest.raises(UserError, match="those of 2, 5 rows have no other"):
        orders(13, 5, torch.tensor([0] * 3 + [1] * 3 + [2] * 2 + [3] * 5))
    with pytest.raises(UserError, match="3 have fewer than 20 arrangements"):
        orders(9, 5, torch.arange(3).repeat_interleave(3))
    with pytest.raises(UserError, match="expected the episode of each of 9 rows"):
        orders(9, 5, torch.arange(3))
    with pytest.raises(UserError, match="got 3, expected at least 4"):
        blocks_of_rows(9, torch.arange(3).repeat_interleave(3))


def test_same_length_cuts_episodes():
    groups = torch.tensor([5, 5, 5, 8, 8, 5, 8, 1])
    assert same_length(groups, 3).tolist() == [0, 1, 2, 3, 4, 6]
    assert same_length(groups).tolist() == [0, 3, 7]


def test_blocks_are_whole_groups_of_nearly_one_size():
    groups = torch.arange(50).repeat_interleave(3)
    blocks = blocks_of_rows(150, groups)
    assert torch.equal(torch.cat(blocks).sort().values, torch.arange(150))
    assert len(blocks) == 20 and {len(block) for block in blocks} == {6, 9}
    assert all(len(block) == (torch.isin(groups, groups[block])).sum() for block in blocks)
