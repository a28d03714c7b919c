"""Neighbour metrics against their definitions, written as plainly as they read, and against published code."""

import importlib
from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes.lists import overlap, relabel, subsample, survivors
from probes.metrics.cknna import cknna
from probes.metrics.cknna import compare as compare_cknna
from probes.metrics.cknna import prepare as prepare_cknna
from probes.metrics.edit_distance_knn import levenshtein
from probes.metrics.lcs_knn import longest
from probes.neighbours import neighbours

NAMES = ["mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn", "cknna"]
MODULES = {name: importlib.import_module(f"probes.metrics.{name}") for name in NAMES}
METRICS = {name: getattr(module, name) for name, module in MODULES.items()}


def views(seed, n=128, share=0.95):
    """Two linear views (n, 8) and (n, 11) in float64 of six hidden numbers, the second with noise."""
    generator = torch.Generator().manual_seed(seed)
    hidden, other = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    mix = [torch.randn(6, d, generator=generator, dtype=torch.float64) for d in (8, 11)]
    return hidden @ mix[0] + 0.5, (share * hidden + (1 - share**2) ** 0.5 * other) @ mix[1] - 0.5


def with_duplicates(seed):
    """Some rows twice in both views, some in one alone, and one row fifteen times."""
    x, y = views(seed, n=90)
    x[10:20], y[10:20] = x[:10], y[:10]
    x[40:45], y[50:55] = x[:5], y[5:10]
    x[60:75] = x[60]
    return x, y


def lists_of(x, k):
    cosine = (F.normalize(x, dim=1) @ F.normalize(x, dim=1).T).round(decimals=12).tolist()
    n = len(cosine)
    return [sorted((j for j in range(n) if j != i), key=lambda j: (-cosine[i][j], j))[:k] for i in range(n)]


def common_subsequence(a, b):
    if not a or not b:
        return 0
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def edits(a, b):
    table = [list(range(len(b) + 1))]
    for i, one in enumerate(a):
        row = [i + 1]
        for j, other in enumerate(b):
            row.append(min(table[i][j] + (one != other), table[i][j + 1] + 1, row[j] + 1))
        table.append(row)
    return table[-1][-1]


def dense_hsic(k, m):
    n = len(k)
    total = k.sum() * m.sum() / ((n - 1) * (n - 2))
    return (torch.trace(k @ m) + total - 2 * (k @ m).sum() / (n - 2)) / (n * (n - 3))


def dense_cknna(x, y, k):
    cosines, masks = [], []
    for z in (x, y):
        unit = F.normalize(z, dim=1)
        cosines.append(unit @ unit.T)
        masks.append(torch.zeros(len(z), len(z), dtype=torch.float64).scatter_(1, torch.tensor(lists_of(z, k)), 1))
    both = masks[0] * masks[1]
    own = [dense_hsic(mask * cosine, mask * cosine) for mask, cosine in zip(masks, cosines, strict=True)]
    return (dense_hsic(both * cosines[0], both * cosines[1]) / (own[0] * own[1]).sqrt()).item()


def by_definition(name, x, y, k):
    if name == "cknna":
        return dense_cknna(x, y, k)
    a, b = lists_of(x, k), lists_of(y, k)
    if name == "cycle_knn":
        return sum(any(i in a[j] for j in near) for i, near in enumerate(b)) / len(b)
    row = {
        "mutual_knn": lambda one, other: len({*one} & {*other}),
        "lcs_knn": common_subsequence,
        "edit_distance_knn": lambda one, other: k - edits(one, other),
    }[name]
    return sum(row(one, other) for one, other in zip(a, b, strict=True)) / (k * len(a))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_each_metric_is_its_definition_also_among_duplicates(name, seed):
    x, y = with_duplicates(seed)
    for k in (3, 10):
        assert METRICS[name](x, y, k).value == pytest.approx(by_definition(name, x, y, k), abs=1e-10)
    assert METRICS[name](x, x).value == pytest.approx(by_definition(name, x, x, 10), abs=1e-10)
    if name != "cycle_knn":
        assert METRICS[name](x, x).value == pytest.approx(1, abs=1e-12)


# Values of platonic-rep's metrics.py at commit dcd76ba on `views(seed)`, rows of norm 1, in float64 on a CPU, without
# its parallel loop: mutual, cycle, LCS (there not divided by k), edit distance, CKNNA.
PLATONIC_REP = {
    (5, 0): [0.287500024, 0.7421875, 1.1796875, 0.0828125, 0.271638709],
    (5, 1): [0.346875012, 0.8515625, 1.3671875, 0.09375, 0.322830761],
    (5, 2): [0.323437512, 0.828125, 1.2421875, 0.0921875, 0.300719055],
    (10, 0): [0.357031256, 0.96875, 2.3046875, 0.059375, 0.364711147],
    (10, 1): [0.396093756, 0.9921875, 2.5078125, 0.0671875, 0.404790493],
    (10, 2): [0.400781244, 0.96875, 2.4765625, 0.07109375, 0.388938992],
}


@pytest.mark.parametrize(("k", "seed"), PLATONIC_REP)
def test_values_of_the_published_implementation(k, seed):
    x, y = views(seed)
    mutual, cycle, lcs, edit, _ = (METRICS[name](x, y, k).value for name in NAMES)
    # What is theirs is float32 in mutual kNN, and has 1e-6 in CKNNA's denominator.
    ours = [mutual, cycle, k * lcs, edit, compare_cknna(prepare_cknna(x, k), prepare_cknna(y, k), eps=1e-6)]
    assert ours == pytest.approx(PLATONIC_REP[k, seed], abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_null_is_the_mean_over_all_permutations(name):
    """All 720 orders of six rows."""
    x, y = views(3, n=6)
    a, b = (MODULES[name].prepare(z, 3) for z in (x, y))
    values = [MODULES[name].relabelled(a, b, torch.tensor(order)) for order in permutations(range(6))]
    drawn = name in ("lcs_knn", "edit_distance_knn")
    assert MODULES[name].null(a, b) == pytest.approx(sum(values) / 720, abs=0.004 if drawn else 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_null_is_the_mean_of_many_permutations_of_many_rows(name):
    x, y = views(4, n=64)
    a, b = (MODULES[name].prepare(z) for z in (x, y))
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor([MODULES[name].relabelled(a, b, torch.randperm(64, generator=generator)) for _ in range(300)])
    score = METRICS[name](x, y)
    assert abs(values.mean() - score.null) < 3.5 * values.std() / 300**0.5
    assert values.max() < score.value


def test_longest_common_subsequence_and_edits_are_the_plain_recursions():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(200, 12, generator=generator).argsort(dim=1)[:, :7] for _ in range(2))
    b[:40] = a[:40].roll(1, dims=1)
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    assert longest(a, b).tolist() == [common_subsequence(*pair) for pair in pairs]
    assert levenshtein(a, b).tolist() == [edits(*pair) for pair in pairs]
    assert levenshtein(a[:40], b[:40]).tolist() == [2] * 40


def test_a_missing_neighbour_agrees_with_nothing():
    a, b = torch.tensor([[1, 2, -1], [0, -1, -1], [1, 0, -1]]), torch.tensor([[2, -1, -1], [0, 2, -1], [0, -1, -1]])
    assert overlap(a, b).tolist() == [[False, True, False], [True, False, False], [False, True, False]]
    assert longest(a, b).tolist() == [1, 1, 1]
    assert levenshtein(a, b).tolist() == [3, 2, 3]
    assert relabel(a, torch.tensor([2, 0, 1])).tolist() == [[2, 1, -1], [2, 0, -1], [1, -1, -1]]
    b[:2] = -1
    assert MODULES["cycle_knn"].compare(a, b) == pytest.approx(1 / 3)


def test_survivors_are_the_lists_of_a_new_search_among_the_kept():
    x, _ = with_duplicates(0)
    kept = torch.rand(90, generator=torch.Generator().manual_seed(0)) < 0.7
    left, columns = survivors(neighbours(x, 60), kept, 10)
    assert torch.equal(left, neighbours(x[kept], 10))
    assert (columns.diff(dim=1) > 0).all()
    few = survivors(neighbours(x, 4), kept, 4)[0]
    new = neighbours(x[kept], 4)
    assert (few < 0).any()
    assert torch.equal(few, torch.where(few < 0, -1, new))


def test_relabelled_lists_are_those_of_a_new_search():
    x, _ = views(5)
    order = torch.randperm(128, generator=torch.Generator().manual_seed(2))
    assert torch.equal(relabel(neighbours(x, 9), order), neighbours(x[order], 9))


def test_a_subsample_knows_the_error_of_a_mean_and_keeps_blocks_together():
    """A mean over 2000 rows has error std / sqrt(n); over 50 runs of 40 like rows, std / sqrt(50)."""
    generator = torch.Generator().manual_seed(0)
    for runs in (2000, 20):
        rows = 0.5 + 0.05 * torch.randn(runs, 1, generator=generator, dtype=torch.float64).expand(-1, 2000 // runs)
        rows = rows.flatten()
        value = rows.mean().item()
        low, high = subsample(value, 2000, lambda kept, rows=rows: rows[kept].mean().item())
        assert (low + high) / 2 == pytest.approx(value)
        assert (high - low) / 2 / 1.96 == pytest.approx(0.05 / runs**0.5, rel=0.35)


def test_a_subsample_is_of_three_quarters_of_the_rows_and_its_interval_within_0_and_1():
    kept_by = []

    def value(kept):
        kept_by.append(kept)
        return float(kept[0])

    assert subsample(0.5, 200, value) == (0.0, 1.0)
    kept = torch.stack(kept_by)
    assert (kept.sum(dim=1) == 150).all()
    assert torch.equal(kept, kept[:, ::10].repeat_interleave(10, dim=1))
    assert (kept.double().mean(dim=0) - 0.75).abs().max() < 0.3


@pytest.mark.parametrize("name", ["lcs_knn", "edit_distance_knn", "cknna"])
def test_the_interval_is_that_of_subsamples_that_are_searched_anew(name):
    """Twice k are all others here, so that none is missed."""
    x, y = views(3, n=25)
    metric = METRICS[name]
    found = metric(x, y, 12)
    anew = subsample(found.value, 25, lambda kept: metric(x[kept], y[kept], 12).value)
    assert found.interval == pytest.approx(anew, abs=1e-9) and anew[0] < found.value < anew[1]


@pytest.mark.parametrize("name", NAMES)
def test_all_rows_but_one_are_neighbours(name):
    """Then sets say nothing: mutual and cycle kNN are 1 by chance too."""
    x, y = views(0, n=12)
    if name == "cknna":
        assert cknna(x, y, 11).value < 1
    else:
        score = METRICS[name](x, y, 11)
        assert score.value == pytest.approx(by_definition(name, x, y, 11))
        assert (score.null == pytest.approx(1)) == (name in ("mutual_knn", "cycle_knn"))


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused_with_what_to_do(name):
    x, y = views(0, n=20)
    metric, prepare = METRICS[name], MODULES[name].prepare
    for k in (0, 20, 30):
        with pytest.raises(UserError, match=f"got {k} neighbours, expected 1 to 19 .*lower k"):
            metric(x, y, k)
        with pytest.raises(UserError, match=f"got {k} neighbours, expected 1 to 19 .*lower k"):
            prepare(x, k)
    with pytest.raises(UserError, match=r"collapsed.*choose another"):
        metric(x, torch.full((20, 4), 0.3))
    with pytest.raises(UserError, match=r"collapsed.*choose another"):
        prepare(torch.zeros(20, 4))
    y[7, 2] = float("nan")
    with pytest.raises(UserError, match="y: row 7 holds NaN"):
        metric(x, y)
    with pytest.raises(UserError, match="row 7 holds NaN"):
        prepare(y)


def test_a_layer_without_any_structure_is_refused():
    """Eight rows that are all equally far from each other, and all neighbours."""
    x = torch.eye(8) + 0.5
    with pytest.raises(UserError, match="nearly all rows are neighbours: choose another k"):
        cknna(x, x, 7)
