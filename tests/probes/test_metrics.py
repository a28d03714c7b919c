"""One contract for whatever is in probes/metrics, then the closed forms of each."""

import importlib
import pkgutil
from itertools import combinations

import pytest
import torch
from torch.nn import functional as F

import probes.metrics
from jepa_wm.errors import UserError
from probes.hsic import hsic, sums_of
from probes.metrics.cka import cka
from probes.metrics.mutual_knn import mutual_knn
from probes.neighbours import neighbours

NAMES = [module.name for module in pkgutil.iter_modules(probes.metrics.__path__)]
MODULES = {name: importlib.import_module(f"probes.metrics.{name}") for name in NAMES}
METRICS = {name: getattr(module, name) for name, module in MODULES.items()}

# Metrics whose interval is not asked to hold the expectation over fresh samples, and why.
UNCOVERED = {"ridge_predictivity": "predictions that are shrunk to the mean leave too little to vary"}
# Metrics that identical input does not bring to 1, and why.
NOT_REFLEXIVE = {"cycle_knn": "a row that is nobody's neighbour never comes back, also in one space"}


def related(n=160, dx=8, dy=11, share=0.9, seed=0):
    """Two views of one hidden state, the second with noise; a common mean in both."""
    generator = torch.Generator().manual_seed(seed)
    hidden, other = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    mix = [torch.randn(6, d, generator=generator, dtype=torch.float64) for d in (dx, dy)]
    return hidden @ mix[0] + 0.5, (share * hidden + (1 - share**2) ** 0.5 * other) @ mix[1] - 0.5


def rotation(d, seed):
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).Q


def rotated(x, y):
    return x @ rotation(x.shape[1], 1), y @ rotation(y.shape[1], 2)


def scaled(x, y):
    return 0.01 * x, 30 * y


def translated(x, y):
    return x + 4 * rotation(x.shape[1], 3)[0], y - 7 * rotation(y.shape[1], 4)[0]


def permuted(x, y):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    return x[order], y[order]


CHANGES = {"rotation": rotated, "scale": scaled, "translation": translated, "permutation": permuted}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", CHANGES)
def test_declared_invariances_are_exactly_those_that_hold(name, change):
    def holds(x, y):
        return abs(METRICS[name](x, y).value - METRICS[name](*CHANGES[change](x, y)).value) < 1e-6

    # A value that counts rows can stay as it is by chance once.
    assert (holds(*related()) and holds(*related(seed=1))) == (change in MODULES[name].INVARIANCES)


@pytest.mark.parametrize("name", NAMES)
def test_only_known_invariances_are_declared(name):
    assert set(CHANGES) >= MODULES[name].INVARIANCES


@pytest.mark.parametrize("name", NAMES)
def test_symmetry_is_declared_as_it_holds(name):
    x, y = related()
    there, back = METRICS[name](x, y).value, METRICS[name](y, x).value
    assert (abs(there - back) < 1e-9) == MODULES[name].SYMMETRIC


@pytest.mark.parametrize("name", sorted({*NAMES} - {*NOT_REFLEXIVE}))
def test_one_on_itself(name):
    x, _ = related()
    assert METRICS[name](x, x).value == pytest.approx(1, abs=1e-9)
    assert METRICS[name](x, 3 * x @ rotation(8, 0)).value == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_related_views_score_above_the_null_within_the_interval(name):
    score = METRICS[name](*related())
    assert score.null < score.interval[0] < score.value < score.interval[1]
    assert score.value < 0.995
    assert score.n == 160


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("widths", [(4, 6), (100, 300)])
def test_independent_input_is_at_the_null_whatever_the_width(name, widths):
    generator = torch.Generator().manual_seed(0)
    views = [[torch.randn(64, d, generator=generator) for d in widths] for _ in range(40)]
    try:
        draws = [METRICS[name](*view) for view in views]
    except UserError:
        assert max(widths) >= 64, "only more columns than rows are a reason to refuse"
        return
    excess = torch.tensor([score.value - score.null for score in draws], dtype=torch.float64)
    assert abs(excess.mean()) < max(4 * excess.std().item() / 40**0.5, 1e-9)
    if name not in UNCOVERED:
        assert sum(score.interval[0] <= score.null <= score.interval[1] for score in draws) >= 0.88 * 40


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*NAMES} - {*UNCOVERED}))
def test_interval_covers_the_expectation(name):
    x, y = related(n=100 * 60, share=0.8)
    draws = [METRICS[name](*views) for views in zip(x.split(100), y.split(100), strict=True)]
    mean = sum(score.value for score in draws) / len(draws)
    assert sum(score.interval[0] <= mean <= score.interval[1] for score in draws) >= 0.88 * len(draws)
    error = torch.tensor([score.interval[1] - score.value for score in draws]).mean() / 1.96
    assert 0.8 < error / torch.tensor([score.value for score in draws]).std() < 2


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(MODULES[name], "prepare")])
def test_prepared_layers_give_the_value_and_relabelling_is_the_metric_of_permuted_rows(name):
    x, y = related()
    prepare, compare, relabelled = (getattr(MODULES[name], part) for part in ("prepare", "compare", "relabelled"))
    a, b = prepare(x), prepare(y)
    assert compare(a, b) == pytest.approx(METRICS[name](x, y).value, abs=1e-9)
    order = torch.randperm(160, generator=torch.Generator().manual_seed(6))
    # A shift by 2 keeps some of the agreement of rows that are near each other, a random order keeps none.
    for rows in (order, torch.arange(160).roll(2), torch.arange(160)):
        assert relabelled(a, b, rows) == pytest.approx(compare(a, prepare(y[rows])), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused(name):
    x, y = related()
    with pytest.raises(UserError, match="same samples"):
        METRICS[name](x, y[1:])
    with pytest.raises(UserError):
        METRICS[name](x[:3], y[:3])
    y[4, 1] = float("inf")
    with pytest.raises(UserError, match="y: row 4"):
        METRICS[name](x, y)


def dense_hsic(k, m):
    """The unbiased HSIC as it is written for two kernel matrices."""
    n = len(k)
    k, m = k.clone().fill_diagonal_(0), m.clone().fill_diagonal_(0)
    ones = torch.ones(n, dtype=k.dtype)
    total = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (torch.trace(k @ m) + total - 2 * (ones @ k @ m @ ones) / (n - 2)) / (n * (n - 3))


@pytest.mark.parametrize(("n", "dx", "dy"), [(8, 3, 2), (41, 5, 70), (150, 30, 20)])
def test_cka_is_the_dense_definition(n, dx, dy):
    x, y = related(n, dx, dy)
    k, m = x @ x.T, y @ y.T
    dense = dense_hsic(k, m) / (dense_hsic(k, k) * dense_hsic(m, m)).sqrt()
    assert cka(x, y).value == pytest.approx(dense.item(), abs=1e-10)
    assert hsic(sums_of(x, y)).item() == pytest.approx(dense_hsic(k, m).item(), rel=1e-9)


def test_cka_interval_is_the_jackknife_of_refits():
    x, y = related(n=100)
    keep = [torch.ones(100, dtype=torch.bool) for _ in range(20)]
    for block, mask in enumerate(keep):
        mask[5 * block : 5 * block + 5] = False
    left_out = torch.tensor([cka(x[mask], y[mask]).value for mask in keep])
    error = (19 / 20 * (left_out - left_out.mean()).square().sum()).sqrt().item()
    score = cka(x, y)
    assert score.interval == pytest.approx((score.value - 1.96 * error, score.value + 1.96 * error), rel=1e-4)


def test_cka_of_a_constant_is_zero():
    x, _ = related()
    assert cka(x.float(), torch.full((160, 3), 0.1))[:3] == (0.0, 0.0, (0.0, 0.0))


def test_mutual_knn_is_brute_force():
    x, y = related()
    lists = []
    for z in (x, y):
        unit = F.normalize(z, dim=1)
        lists.append((unit @ unit.T).fill_diagonal_(-9).argsort(dim=1, descending=True)[:, :7].tolist())
    shared = sum(len(set(a) & set(b)) for a, b in zip(*lists, strict=True))
    score = mutual_knn(x, y, k=7)
    assert score.value == pytest.approx(shared / (7 * 160))
    assert score.null == 7 / 159


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_mutual_knn_varies_by_pairs_that_have_a_row_in_common(share):
    """Its variance by its definition: over all two pairs of rows that have one in common."""
    n, k = 14, 3
    generator = torch.Generator().manual_seed(1)
    x, other = torch.randn(2, n, 4, generator=generator, dtype=torch.float64)
    lists = [neighbours(z, k).tolist() for z in (x, share * x + (1 - share) * other)]
    value = sum(len({*a} & {*b}) for a, b in zip(*lists, strict=True)) / (n * k)
    terms = {}
    for i, j in combinations(range(n), 2):
        steps = [(to in near[row]) for row, to in ((i, j), (j, i)) for near in lists]
        terms[i, j] = sum(a and b for a, b in (steps[:2], steps[2:])) - value / 2 * sum(steps)
    variance = sum(a * b for p, a in terms.items() for q, b in terms.items() if {*p} & {*q})
    error = 1.96 * max(variance, sum(a * a for a in terms.values())) ** 0.5 / (n * k)
    found = mutual_knn(x, share * x + (1 - share) * other, k)
    assert found.value == pytest.approx(value)
    assert found.interval == pytest.approx((max(0, value - error), min(1, value + error)), abs=1e-12)


def test_a_share_of_neighbours_is_never_below_0_nor_above_1():
    """One of six rows agrees, then five."""
    pairs = torch.tensor([[1, 0, 3, 2, 5, 4], [1, 2, 4, 5, 0, 3], [1, 0, 3, 2, 5, 0]])[..., None]
    (low, middle), (inner, high) = (MODULES["mutual_knn"].interval(pairs[0], other) for other in pairs[1:])
    assert (low, high) == (0, 1) and 1 / 6 < middle < 1 and 0 < inner < 5 / 6
