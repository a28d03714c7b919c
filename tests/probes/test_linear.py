import pytest
import torch

from jepa_wm.errors import UserError
from jepa_wm.statistics import wilson
from probes.linear import _gram, r2_interval, r_squared, ridge, ridge_classifier, ridge_probe


def planted(n, d, seed, noise=0.0, targets=3):
    """Targets that are linear in the features, plus noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    weights = torch.randn(d, targets, generator=torch.Generator().manual_seed(99)) / d**0.5
    return 5 + 2 * x, x @ weights + noise * torch.randn(n, targets, generator=generator)


def splits(d=20, noise=0.0, sizes=(600, 200, 400)):
    return [planted(n, d, seed, noise) for seed, n in enumerate(sizes)]


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_r2_is_the_planted_share_of_variance(noise):
    score = ridge_probe(*splits(noise=noise, sizes=(4000, 1000, 4000)))
    weights = torch.randn(20, 3, generator=torch.Generator().manual_seed(99)) / 20**0.5
    signal = weights.square().sum(dim=0)
    expected = signal / (signal + noise**2)
    assert score.per_target == pytest.approx(expected.tolist(), abs=0.03)
    assert score.pearson == pytest.approx(expected.sqrt().tolist(), abs=0.02)
    assert score.r2.value == pytest.approx(sum(score.per_target) / 3)
    assert score.r2.interval[0] < score.r2.value < score.r2.interval[1]
    assert score.r2.n == 4000


def noise_for(parts):
    """The same targets with features that know nothing of them."""
    return [(torch.randn(x.shape, generator=torch.Generator().manual_seed(i)), y) for i, (x, y) in enumerate(parts, 7)]


def test_independent_features_know_nothing():
    score = ridge_probe(*noise_for(splits()))
    assert abs(score.r2.value) < 0.05
    assert abs(score.r2.null) < 0.05
    assert score.penalty >= 1


@pytest.mark.parametrize(("n", "d"), [(60, 12), (60, 60), (12, 60)])
def test_primal_and_dual_are_the_normal_equations(n, d):
    x, y = planted(n, d, seed=0, noise=0.3)
    x, y = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    scale = (x.square().sum() / min(n, d)).item()
    for penalty, weights in zip((0.01, 1.0), ridge(x, y, (0.01, 1.0)), strict=True):
        direct = torch.linalg.solve(x.T @ x + penalty * scale * torch.eye(d), x.T @ y)
        torch.testing.assert_close(weights, direct)


@pytest.mark.parametrize(("n", "d"), [(60, 12), (12, 60)])
def test_vanishing_penalty_is_least_squares(n, d):
    x, y = planted(n, d, seed=0, noise=0.3)
    x, y = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    torch.testing.assert_close(ridge(x, y, (1e-11,))[0], torch.linalg.pinv(x) @ y, atol=1e-6, rtol=1e-6)


def test_gram_has_every_lower_entry():
    x = torch.randn(23, 5, dtype=torch.float64)
    torch.testing.assert_close(_gram(x, block=7).tril(), (x @ x.T).tril())


def test_r_squared_of_the_mean_is_zero_and_of_the_truth_one():
    y = torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(
        r_squared(torch.stack([y, y.mean(0).expand(50, 2), y + y.std(0, correction=0)]), y),
        torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64),
    )


def test_a_test_split_elsewhere_keeps_its_own_mean():
    train, val, (x, y) = splits(noise=0.5)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(20, 3, generator=torch.Generator().manual_seed(99)) / 20**0.5
    moved = (x + 8, y + 4 * weights.sum(dim=0))
    here, there = ridge_probe(train, val, (x, y)), ridge_probe(train, val, moved)
    assert there.pearson == pytest.approx(here.pearson, abs=1e-5)
    assert there.r2.interval[0] < there.r2.value < there.r2.interval[1]
    far = 5 + torch.randn(300, 2, generator=generator, dtype=torch.float64)
    predicted = far + 0.5 * torch.randn(300, 2, generator=generator, dtype=torch.float64)
    low, high = r2_interval(predicted, far, torch.arange(300), generator)
    assert low < r_squared(predicted, far).mean() < high
    assert high - low < 0.15


def episodes(count, length, d, seed):
    """Rows of an episode are almost one point: independent episodes, not independent rows."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, d, generator=generator).repeat_interleave(length, 0)
    y = torch.randn(count, 2, generator=generator).repeat_interleave(length, 0)
    return x + 0.01 * torch.randn(x.shape, generator=generator), y


def test_whole_episodes_are_resampled_and_shuffled():
    parts = [episodes(30, 10, 5, seed) for seed in range(3)]
    parts = [(x, y + x[:, :2]) for x, y in parts]
    ids = torch.arange(90).repeat_interleave(10)
    grouped, single = ridge_probe(*parts, groups=ids), ridge_probe(*parts)
    assert grouped.r2.value == single.r2.value
    width = [high - low for low, high in (grouped.r2.interval, single.r2.interval)]
    assert 2 < width[0] / width[1] < 5  # sqrt(10) for ten copies of each row
    assert max(grouped.r2.null, single.r2.null) <= 0.05


def test_an_episode_in_two_splits_is_refused():
    train, val, test = splits()
    ids = torch.arange(1200)
    ids[1100] = 7
    with pytest.raises(UserError, match="episode 7 is in train and in test"):
        ridge_probe(train, val, test, groups=ids)
    with pytest.raises(UserError, match=r"expected the episode of each"):
        ridge_probe(train, val, test, groups=ids[:400])


def test_wide_features_and_constant_columns():
    parts = [(torch.cat([x, torch.full((len(x), 900), 0.1)], dim=1), y) for x, y in splits(sizes=(300, 100, 100))]
    assert ridge_probe(*parts).r2.value > 0.999


def test_bad_targets_are_named():
    train, val, test = splits()
    test[1][:, 1] = 3.0
    with pytest.raises(UserError, match="test targets: column 1 is constant"):
        ridge_probe(train, val, test)
    train[0][5, 2] = float("nan")
    with pytest.raises(UserError, match="train features: row 5"):
        ridge_probe(train, val, test)


def test_classifier_reads_planted_classes_and_knows_chance():
    parts = [(x, (y[:, 0] > 0.2).long()) for x, y in splits(sizes=(2000, 500, 1000))]
    score = ridge_classifier(*parts)
    assert score.null == (parts[2][1] == 0).double().mean().item()
    assert score.value > 0.95
    assert score.interval[0] < score.value < score.interval[1]
    assert ridge_classifier(*noise_for(parts)).value == pytest.approx(score.null, abs=0.04)


def test_classifier_separates_separable_classes():
    centres = 3 * torch.eye(4)
    labels = [torch.arange(n) % 4 for n in (200, 80, 80)]
    parts = [(centres[y] + 0.1 * torch.randn(len(y), 4, generator=torch.Generator().manual_seed(0)), y) for y in labels]
    score = ridge_classifier(*parts)
    assert score[:2] == (1.0, 0.25) and score.interval == pytest.approx(wilson(80, 80))
    few = ridge_classifier(*parts, groups=torch.arange(360) // 20)
    assert few.interval[0] < score.interval[0] and few.interval[1] == 1


def test_labels_that_are_no_classes_are_refused():
    train, val, test = [(x, (y[:, 0] > 0.2).long()) for x, y in splits(sizes=(60, 30, 30))]
    parts = {"train": train, "val": val, "test": test}
    for name, (x, y) in parts.items():
        shape = rf"\({len(y)}, 1\)"
        kinds = ((y.double(), "float64"), (y.cfloat(), "complex64"), (y - 1, "int64"), (y[:, None], shape))
        for wrong, why in kinds:
            with pytest.raises(UserError, match=f"{name} labels: got .*{why}.*; expected integers"):
                ridge_classifier(*(parts | {name: (x, wrong)}).values())
    with pytest.raises(UserError, match="train labels: got class 3 only"):
        ridge_classifier((train[0], torch.full((60,), 3)), val, test)
    # A class that training has not seen is wrong wherever it is, and no error: splits of many classes lack some.
    assert ridge_classifier(train, val, (test[0], test[1] + 2)).value == 0


def test_features_that_do_not_vary_know_nothing():
    splits = [(torch.ones(n, 8), torch.randn(n, 2, generator=torch.Generator().manual_seed(n))) for n in (60, 30, 40)]
    assert -0.2 < ridge_probe(*splits).r2.value <= 0
