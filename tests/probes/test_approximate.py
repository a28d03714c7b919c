"""Approximate neighbours are the exact ones as often as they say, or are refused."""

import pytest
import torch

from jepa_wm.errors import UserError
from probes.approximate import approximate_neighbours
from probes.neighbours import neighbours


def clusters(n=3000, d=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(60, d, generator=generator).repeat(n // 60, 1) + 1.5 * torch.randn(n, d, generator=generator)


def share(lists, exact):
    return (lists[:, :, None] == exact[:, None, :]).any(dim=2).double().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize(("index", "little", "enough", "all_of_them"), [("hnsw", 1, 300, 3000), ("ivf", 1, 60, 76)])
def test_effort_buys_recall_and_the_audit_knows_it(index, little, enough, all_of_them):
    x = clusters()
    exact = neighbours(x, 10)
    recalls = []
    for effort in (little, enough):
        lists, recall = approximate_neighbours(x, 10, index, effort, least=0, audited=2000)
        assert recall == pytest.approx(share(lists, exact), abs=0.01)
        assert not (lists == torch.arange(3000)[:, None]).any()
        recalls.append(recall)
    assert recalls[0] < recalls[1] - 0.003 < 1
    whole = approximate_neighbours(x, 10, index, all_of_them)
    assert torch.equal(whole.lists, exact)
    assert whole.recall == 1


def test_an_audit_of_some_rows_is_of_those_rows():
    x = clusters()
    lists, recall = approximate_neighbours(x, 10, "ivf", 2, least=0, audited=50)
    sample = torch.randperm(3000, generator=torch.Generator().manual_seed(0))[:50]
    assert recall == pytest.approx(share(lists[sample], neighbours(x, 10)[sample]))


def test_low_recall_is_refused_with_what_it_would_do_to_overlaps():
    with pytest.raises(UserError, match=r"ivf with effort 1 found \d\d\.\d% .*too low; raise the effort"):
        approximate_neighbours(clusters(), 10, "ivf", effort=1)


def test_a_cell_with_too_few_rows_leaves_gaps_that_agree_with_nothing():
    lists, recall = approximate_neighbours(clusters(600), 200, "ivf", effort=1, least=0)
    assert (lists == -1).any()
    gap = lists == -1
    assert (gap[:, 1:] >= gap[:, :-1]).all()
    assert recall < 1


def test_bad_input_is_refused():
    x = clusters(120)
    with pytest.raises(UserError, match='"hnsw" or "ivf"'):
        approximate_neighbours(x, 10, "flat")
    with pytest.raises(UserError, match="got 120 neighbours, expected 1 to 119"):
        approximate_neighbours(x, 120)
    with pytest.raises(UserError, match="point the same way"):
        approximate_neighbours(torch.ones(120, 4), 10)
    x[3, 3] = float("nan")
    with pytest.raises(UserError, match="row 3 holds NaN"):
        approximate_neighbours(x, 10)
