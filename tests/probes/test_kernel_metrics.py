"""Kernel and spectral metrics against their definitions, written densely in float64, and against published code."""

import importlib
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes import kernels
from probes.hsic import hsic, sums_of
from probes.metrics.cca import cca
from probes.metrics.cka import cka
from probes.metrics.cka_biased import cka_biased
from probes.metrics.cka_rbf import cka_rbf
from probes.metrics.linear_predictivity import linear_predictivity
from probes.metrics.procrustes import procrustes
from probes.metrics.pwcca import pwcca
from probes.metrics.ridge_predictivity import PENALTIES, ridge_predictivity
from probes.metrics.rsa import rsa
from probes.metrics.svcca import compare as compare_bases
from probes.metrics.svcca import svcca

NAMES = ["cka", "cka_biased", "cka_rbf", "rsa", "cca", "pwcca", "svcca", "procrustes"]
NAMES += ["linear_predictivity", "ridge_predictivity"]
MODULES = {name: importlib.import_module(f"probes.metrics.{name}") for name in NAMES}


def views(seed, n=120, dx=24, dy=40):
    """Two views of one hidden state with noise, four rows of them twice."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    mix_x = torch.randn(6, dx, generator=generator, dtype=torch.float64)
    x = hidden @ mix_x + torch.randn(n, dx, generator=generator, dtype=torch.float64)
    mix_y = torch.randn(6, dy, generator=generator, dtype=torch.float64)
    y = hidden @ mix_y + 2 * torch.randn(n, dy, generator=generator, dtype=torch.float64)
    x[n // 2 : n // 2 + 4], y[n // 2 : n // 2 + 4] = x[:4].clone(), y[:4].clone()
    return x, y


def centring(n):
    return torch.eye(n, dtype=torch.float64) - 1 / n


def biased(k, m):
    h = centring(len(k))
    return (k @ h @ m @ h).trace()


def unbiased(k, m):
    """Eq. 5 of Song et al., as it is written."""
    n = len(k)
    k, m = k.clone().fill_diagonal_(0), m.clone().fill_diagonal_(0)
    ones = torch.ones(n, dtype=k.dtype)
    total = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return ((k @ m).trace() + total - 2 * (ones @ k @ m @ ones) / (n - 2)) / (n * (n - 3))


def of_kernels(measure, k, m):
    return (measure(k, m) / (measure(k, k) * measure(m, m)).sqrt()).item()


def distances(x):
    return (x[:, None] - x[None, :]).square().sum(dim=2).sqrt()


def gaussian(x, bandwidth):
    apart = distances(x)
    sigma = bandwidth * apart[torch.triu_indices(len(x), len(x), 1).unbind()].median()
    return (-apart.square() / (2 * sigma**2)).exp()


def ranks(values):
    """Mean ranks, by counting who is below and who is equal."""
    below, equal = values[None, :] < values[:, None], values[None, :] == values[:, None]
    return below.sum(dim=1) + (equal.sum(dim=1) + 1) / 2


def pearson(a, b):
    return torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1].item()


def inverse_root(covariance):
    values, vectors = torch.linalg.eigh(covariance)
    return vectors / values.sqrt() @ vectors.T


def canonical(x, y):
    """Canonical correlations and the directions (n, r) of x, by inverse square roots of covariances."""
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    white_x, white_y = x @ inverse_root(x.T @ x), y @ inverse_root(y.T @ y)
    left, sigma, _ = torch.linalg.svd(white_x.T @ white_y, full_matrices=False)
    return sigma, white_x @ left, x


def dense_cca(x, y):
    return canonical(x, y)[0].mean().item()


def dense_pwcca(x, y):
    sigma, directions, x = canonical(x, y)
    weights = torch.stack([sum((h @ feature).abs() for feature in x.T) for h in directions.T])
    return ((weights * sigma).sum() / weights.sum()).item()


def dense_svcca(x, y, k=10):
    parts = []
    for z in (x, y):
        z = z - z.mean(dim=0)
        parts.append(z @ torch.linalg.eigh(z.T @ z).eigenvectors[:, -k:])
    return dense_cca(*parts)


def dense_procrustes(x, y):
    """1 - d² / 2 of the distance that is left after the best rotation, made."""
    x, y = (z - z.mean(dim=0) for z in (x, y))
    width = max(x.shape[1], y.shape[1])
    x, y = (F.pad(z / z.norm(), (0, width - z.shape[1])) for z in (x, y))
    left, _, right = torch.linalg.svd(x.T @ y)
    return 1 - (x @ left @ right - y).square().sum().item() / 2


def dense_rsa(x, y):
    each = torch.triu_indices(len(x), len(x), 1).unbind()
    # Rounded, so that the distances of duplicates tie.
    return pearson(*(ranks((distances(z)[each] * 1e9).round()) for z in (x, y)))


def dense_linear(x, y):
    """R² against the mean of the rows that were fitted, with a new fit for each block of rows."""
    with_one = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    error = variation = 0.0
    size = -(-len(x) // 20)
    for start in range(0, len(x), size):
        test = torch.zeros(len(x), dtype=torch.bool)
        test[start : start + size] = True
        weights = torch.linalg.lstsq(with_one[~test], y[~test]).solution
        error += (y[test] - with_one[test] @ weights).square().sum().item()
        variation += (y[test] - y[~test].mean(dim=0)).square().sum().item()
    return 1 - error / variation


def solve_ridge(x, y, penalty):
    gram = x.T @ x
    scale = gram.trace() / min(x.shape)
    return torch.linalg.solve(gram + penalty * scale * torch.eye(len(gram), dtype=x.dtype), x.T @ y)


def ridge_errors(x, y, train, test, penalty):
    of_x, of_y = x[train].mean(dim=0), y[train].mean(dim=0)
    weights = solve_ridge(x[train] - of_x, y[train] - of_y, penalty)
    return (y[test] - of_y - (x[test] - of_x) @ weights).square().sum().item()


def dense_ridge(x, y):
    error = variation = 0.0
    for test in torch.arange(len(x)).tensor_split(5):
        train = torch.tensor(sorted({*range(len(x))} - {*test.tolist()}))

        def inner(penalty, train=train):
            folds = train.tensor_split(4)
            pieces = [torch.cat([fold for fold in folds if fold is not out]) for out in folds]
            return sum(ridge_errors(x, y, *pair, penalty) for pair in zip(pieces, folds, strict=True))

        error += ridge_errors(x, y, train, test, min(PENALTIES, key=inner))
        variation += (y[test] - y[train].mean(dim=0)).square().sum().item()
    return 1 - error / variation


DENSE = {
    "cka": lambda x, y: of_kernels(unbiased, x @ x.T, y @ y.T),
    "cka_biased": lambda x, y: of_kernels(biased, x @ x.T, y @ y.T),
    "cka_rbf": lambda x, y: of_kernels(unbiased, gaussian(x, 1.0), gaussian(y, 1.0)),
    "rsa": dense_rsa,
    "cca": dense_cca,
    "pwcca": dense_pwcca,
    "svcca": dense_svcca,
    "procrustes": dense_procrustes,
    "linear_predictivity": dense_linear,
    "ridge_predictivity": dense_ridge,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_their_dense_definitions(name, seed):
    # The definition of RSA by counting takes the square of the number of pairs.
    x, y = views(seed, n=50) if name == "rsa" else views(seed)
    metric = getattr(MODULES[name], name)
    assert metric(x, y).value == pytest.approx(DENSE[name](x, y), abs=1e-8)
    # A large mean costs nothing, in what float32 holds exactly.
    x, y = ((z * 64).round() / 64 for z in (x, y))
    assert metric(x.float() + 1024, y.float() - 512).value == pytest.approx(DENSE[name](x, y), abs=1e-8)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("cca", "pwcca", "linear_predictivity")])
def test_more_features_than_rows(name):
    x, y = views(0, n=30, dx=50, dy=41)
    assert getattr(MODULES[name], name)(x, y).value == pytest.approx(DENSE[name](x, y), abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_the_null_is_the_mean_over_permutations(name):
    x, y = views(0, n=60, dx=6, dy=9)
    module = MODULES[name]
    a, b = module.prepare(x), module.prepare(y)
    generator = torch.Generator().manual_seed(1)
    draws = 60 if name == "ridge_predictivity" else 400
    values = [module.relabelled(a, b, torch.randperm(60, generator=generator)) for _ in range(draws)]
    values = torch.tensor(values, dtype=torch.float64)
    # The null is itself a mean over a few permutations where no closed form exists.
    few = {"cca": 10, "pwcca": 10, "svcca": 20, "procrustes": 10, "linear_predictivity": 10, "ridge_predictivity": 3}
    error = values.std() * (1 / draws + (1 / few[name] if name in few else 0)) ** 0.5
    assert abs(values.mean() - getattr(module, name)(x, y).null) < 3.5 * error


def test_closed_nulls_are_exact_on_all_permutations():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(8, d, generator=generator, dtype=torch.float64) for d in (2, 3))
    # The 56 affine maps of the field of 8 send each pair of rows to each pair, so their mean is that of all 40320.
    affine = [
        torch.tensor([0, *[1 + (i + shift) % 7 for i in range(7)]])[flip]
        for shift in range(7)
        for flip in _translations()
    ]
    for metric in (cka_biased, lambda x, y: cka_rbf(x, y, biased=True), cka, cka_rbf, rsa):
        mean = sum(metric(x, y[order]).value for order in affine) / len(affine)
        assert mean == pytest.approx(metric(x, y).null, abs=1e-10)


def _translations():
    """Additions of each element of the field of 8, written as 0 and the powers of a root of t³ = t + 1."""
    powers = [1]
    for _ in range(6):
        doubled = powers[-1] << 1
        powers.append(doubled ^ 0b1011 if doubled & 8 else doubled)
    elements = [0, *powers]
    place = {element: index for index, element in enumerate(elements)}
    return [torch.tensor([place[element ^ other] for element in elements]) for other in elements]


# Made by the published metrics of the Platonic Representation Hypothesis, on rows of views(seed) of norm 1:
# linear CKA, its unbiased form, both with a Gaussian of sigma 1, and SVCCA after torch.manual_seed(seed).
PUBLISHED = [
    (0.7559266074170665, 0.739136999247726, 0.7720650737110152, 0.7359674828082026, 0.6150861505372315),
    (0.7316172548905449, 0.7140470592014323, 0.7458775327470744, 0.7080147829911244, 0.6271501332942421),
    (0.7213704048715002, 0.7013770797661465, 0.7416732090924241, 0.6983255324154642, 0.6177610643301726),
]


@pytest.mark.parametrize("seed", range(3))
def test_published_values(seed):
    x, y = (F.normalize(z, dim=1) for z in views(seed))
    linear, unbiased_linear, rbf, unbiased_rbf, published_svcca = PUBLISHED[seed]

    def with_epsilon(value, scale):
        # That code adds 1e-6 to the root, which is no small part of an unbiased HSIC of unit rows.
        return value * scale / (scale + 1e-6)

    scale = (hsic(sums_of(x, x)) * hsic(sums_of(y, y))).sqrt().item()
    assert with_epsilon(cka(x, y).value, scale) == pytest.approx(unbiased_linear, abs=1e-10)
    assert abs(cka(x, y).value - unbiased_linear) > 1e-6
    assert cka_biased(x, y).value == pytest.approx(linear, abs=1e-6)

    medians = [distances(z)[torch.triu_indices(120, 120, 1).unbind()].median().item() for z in (x, y)]
    of_rbf = MODULES["cka_rbf"]
    for form, published in ((True, rbf), (False, unbiased_rbf)):
        a, b = (of_rbf.prepare(z, 1 / median, form) for z, median in zip((x, y), medians, strict=True))
        k, m = ((-distances(z).square() / 2).exp() for z in (x, y))
        measure = biased if form else unbiased
        scale = (measure(k, k) * measure(m, m)).sqrt().item()
        assert with_epsilon(of_rbf.compare(a, b), scale) == pytest.approx(published, abs=1e-10)

    torch.manual_seed(seed)
    # Its components are drawn at random, from standardised features.
    standard = [(z - z.mean(dim=0)) / (z.std(dim=0) + 1e-8) for z in (x, y)]
    bases = [torch.svd_lowrank(z, q=10)[0] for z in standard]
    assert compare_bases(*bases) == pytest.approx(published_svcca, abs=2e-6)
    assert abs(svcca(*standard).value - published_svcca) > 1e-3


@pytest.mark.parametrize("name", ["cka", "cka_biased", "rsa"])
def test_many_samples_are_prepared_without_a_matrix(name, monkeypatch):
    module = MODULES[name]
    x, y = views(0)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(2))
    whole = module.relabelled(module.prepare(x), module.prepare(y), order)
    monkeypatch.setattr(kernels, "ROWS", 100)
    monkeypatch.setattr(MODULES["rsa"], "PAIRS", 4000)
    sampled = module.relabelled(module.prepare(x), module.prepare(y), order)
    # 4000 of 7140 pairs say nearly the same; features, exactly.
    assert sampled == pytest.approx(whole, abs=0.05 if name == "rsa" else 1e-10)
    score = getattr(module, name)(x, y)
    assert module.compare(module.prepare(x), module.prepare(y)) == pytest.approx(score.value, abs=1e-10)
    assert score.interval[0] < score.value < score.interval[1]
    assert module.relabelled(module.prepare(x), module.prepare(x[order]), order.argsort()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", ["cka_biased", "cka_rbf", "rsa", "cca", "pwcca", "svcca", "procrustes"])
def test_intervals_are_jackknives_of_refits(name, monkeypatch):
    x, y = views(1, n=100, dx=5, dy=7)
    # With k = 3, components of a part are not those of the whole.
    metric = partial(svcca, k=3) if name == "svcca" else getattr(MODULES[name], name)
    keep = [torch.cat([torch.arange(b), torch.arange(b + 5, 100)]) for b in range(0, 100, 5)]
    refits = torch.tensor([metric(x[rows], y[rows]).value for rows in keep], dtype=torch.float64)
    error = 1.96 * (19 / 20 * (refits - refits.mean()).square().sum()).sqrt().item()
    score = metric(x, y)
    # The bandwidth of the RBF kernel stays that of all rows.
    assert score.interval[1] - score.value == pytest.approx(error, rel=0.05 if name == "cka_rbf" else 1e-6)
    assert score.value - score.interval[0] == pytest.approx(score.interval[1] - score.value)


def test_cca_sees_the_shared_dimensions_whatever_the_features():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(500, 10, generator=generator, dtype=torch.float64)).Q
    basis = basis - basis.mean(dim=0)
    basis = torch.linalg.qr(basis).Q
    # Five directions are shared to such a degree; y has each of its features twice.
    shared, length = torch.tensor([1, 0.5, 0.1, 0.9, 0.2]), torch.tensor([9.0, 1, 3, 0.1, 5])
    x = basis[:, :5] * length
    y = basis[:, :5] * shared + basis[:, 5:] * (1 - shared**2).sqrt()
    y = torch.cat([y * torch.tensor([1.0, 9, 2, 7, 0.1]), y.flip(1)], dim=1)
    assert cca(x, y).value == pytest.approx(2.7 / 5)
    assert cca(x.float(), y.float()).value == pytest.approx(2.7 / 5, abs=1e-5)
    # Features of x lie along the directions, so each counts by its length.
    assert pwcca(x, y).value == pytest.approx((shared @ length / 18.1).item())
    assert procrustes(x, x * torch.tensor([1.0, 1, 1, 1, -1])).value == pytest.approx(1)


def test_predictivity_is_of_y_from_x():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator)
    y = x[:, :2] @ torch.randn(2, 3, generator=generator) + 4
    for metric in (linear_predictivity, ridge_predictivity):
        assert metric(x, y).value == pytest.approx(1, abs=1e-6)
        # Of six independent features of the same variance, two can be told.
        assert metric(y, x).value == pytest.approx(1 / 3, abs=0.06)
    noise = torch.randn(400, 100, generator=generator)
    assert linear_predictivity(noise, y).value < -0.2
    assert abs(ridge_predictivity(noise, y).value) < 0.05
    assert linear_predictivity(noise, y).null == pytest.approx(-100 / 280, abs=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused(name):
    metric = getattr(MODULES[name], name)
    x, y = views(0)
    if name != "cka":
        with pytest.raises(UserError, match=r"y: its 120 rows are all alike.*collapsed"):
            metric(x, torch.full((120, 3), 0.1))
    with pytest.raises(UserError, match="expected at least"):
        metric(x[:7], y[:7])
    with pytest.raises(UserError, match="same samples"):
        metric(x, y[1:])
    y[5, 2] = float("nan")
    with pytest.raises(UserError, match="y: row 5"):
        metric(x, y)


def test_too_few_rows_are_refused_where_everything_would_fit():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(43, d, generator=generator) for d in (24, 40))
    for metric in (cca, pwcca):
        with pytest.raises(UserError, match=r"y: its features span 40 dimensions over 43 rows.*at least 45.*svcca"):
            metric(x, y)
    with pytest.raises(UserError, match=r"x: its features span 40 .* ridge_predictivity"):
        linear_predictivity(y, x)
    with pytest.raises(UserError, match="use a smaller k"):
        svcca(x, y, k=40)
    lonely = x.clone()
    lonely[:, 0] = 0
    lonely[5, 0] = 1
    for metric in (cca, pwcca, linear_predictivity):
        with pytest.raises(UserError, match="a direction varies in rows 3 to 5 only"):
            metric(lonely, x)


def test_kernels_of_too_many_rows_or_of_copies_are_refused():
    x = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match=r"at most 4096 .* x\[::2\]"):
        cka_rbf(x, x)
    x[3:] = x[2]
    with pytest.raises(UserError, match="remove duplicates"):
        cka_rbf(x[:100], x[:100])
    with pytest.raises(UserError, match="bandwidth: got 0"):
        cka_rbf(x[:100], x[:100], bandwidth=0)
