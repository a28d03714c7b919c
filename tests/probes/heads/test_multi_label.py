import pytest
import torch
from formula import tensor
from torch.nn import functional as F

from jepa_wm.errors import UserError
from jepa_wm.statistics import wilson
from probes.heads.multi_label import _interval, average_precision, multi_label_probe, one_vs_rest

# scikit-learn 1.9.1, LogisticRegression(C, tol=1e-12, max_iter=10000) on the numbers of the test.
SKLEARN = {
    0.01: [0.10613043, -0.00540149, 0.03760537, -0.00921346, -0.61970751],
    1.0: [2.56597971, 0.00703378, 0.82525817, -0.39677582, -0.97142168],
    100.0: [5.2173174, 0.05708528, 1.58658968, -0.72430732, -1.7661936],
}


def brute_force(scores, y):
    """Precision * rise of recall, over thresholds from the highest score down."""
    value, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        above = scores >= threshold
        reached = (y[above].sum() / y.sum()).item()
        value += y[above].double().mean().item() * (reached - recall)
        recall = reached
    return value


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_brute_force(ties):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    scores = scores.round() if ties else scores
    y = (scores + torch.randn(60, 4, generator=generator) > 0.5).double()
    expected = [brute_force(column, answer) for column, answer in zip(scores.T, y.T, strict=True)]
    assert average_precision(scores, y).tolist() == pytest.approx(expected, abs=1e-12)
    # A weight is that many copies.
    times = torch.randint(4, (60,), generator=generator)
    copies = times.repeat_interleave(times) * 0 + torch.arange(60).repeat_interleave(times)
    weighted = average_precision(scores, y, times)
    torch.testing.assert_close(weighted, average_precision(scores[copies], y[copies]))


def test_average_precision_is_scikit_learns():
    scores = (tensor("scores", (40,)) * 10).round() / 10
    y = (tensor("hits", (40,)) + scores > 0.3).double()
    assert average_precision(scores[:, None], y[:, None]).item() == pytest.approx(0.7919118153503496)


def test_average_precision_of_perfect_worst_and_equal_scores():
    y = torch.tensor([[1.0], [1.0], [0.0], [0.0], [0.0]])
    falling = -torch.arange(5.0)[:, None]
    assert average_precision(falling, y).item() == 1.0
    assert average_precision(-falling, y).item() == pytest.approx((1 / 4 + 2 / 5) / 2)
    assert average_precision(torch.zeros(5, 1), y).item() == pytest.approx(0.4)


def test_weights_are_scikit_learns_whatever_stands_beside():
    x = tensor("features", (60, 4))
    x = x - x.mean(dim=0)
    noise = tensor("noise", (60, 3))
    y = torch.stack([x[:, 1] > 0, x[:, 0] + 0.7 * noise[:, 0] > 0.3, noise[:, 2] > 0], dim=1).double()
    found = one_vs_rest(x, y, tuple(SKLEARN))
    assert found.gradient.max() <= 1e-8
    for weights, bias, expected in zip(found.weights, found.bias, SKLEARN.values(), strict=True):
        torch.testing.assert_close(
            torch.cat([weights[:, 1], bias[1:2]]), torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=1e-6
        )


def some_labels(parts):
    return [(x, torch.stack([y == 0, y < 2, (y == 1) | (y == 3)], dim=1).long()) for x, y in parts]


def test_planted_labels_are_read_and_noise_is_at_prevalence(blobs, ignorant):
    found = multi_label_probe(*some_labels(blobs[0]), blobs[1])
    assert found.score.value > 0.99 and found.score.null == pytest.approx((0.25 + 0.5 + 0.5) / 3)
    assert found.score.value == pytest.approx(sum(found.per_label) / 3)
    blind = multi_label_probe(*some_labels(ignorant[0]), ignorant[1]).score
    assert abs(blind.value - blind.null) < 0.12 and blind.interval[0] < blind.value < blind.interval[1]


def test_rankings_without_a_fault_are_not_known_to_be_so_for_ever():
    """One label, then two of other rows, in episodes of two rows, which are no more than one trial each."""
    y = (torch.arange(60)[:, None] % 4 == torch.tensor([0, 1])).double()
    for labels, copies in ((1, 1), (2, 1), (2, 2)):
        rows = y[:, :labels].repeat_interleave(copies, dim=0)
        groups = torch.arange(len(rows)) // copies
        low, high = _interval(rows + 0.1, rows, groups, torch.Generator().manual_seed(0))
        assert high == 1 and low == pytest.approx(1 - (1 - wilson(15, 15)[0]) / labels**0.5)


def test_the_interval_is_of_episodes_drawn_again_and_of_the_labels_that_each_draw_has():
    """Rows are copied as often as their episode is drawn; some draws lack a label, some both."""
    groups = (torch.arange(36) * 7 % 36) // 3
    scores = torch.randn(36, 2, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    y = torch.stack([(groups == 5) | (groups == 2), groups == 2], dim=1).double()
    y[(groups == 2).nonzero()[1:], 1] = 0
    values = []
    for picks in torch.randint(12, (200, 12), generator=torch.Generator().manual_seed(0)):
        rows = torch.cat([(groups == pick).nonzero()[:, 0] for pick in picks])
        there = y[rows].any(dim=0).nonzero()[:, 0].tolist()
        each = [brute_force(scores[rows, label], y[rows, label]) for label in there]
        values += [sum(each) / len(each)] if each else []
    assert len(values) < 190
    drawn = torch.tensor(values, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    found = _interval(scores, y, groups, torch.Generator().manual_seed(0))
    assert found == pytest.approx(drawn.tolist(), abs=1e-12)


def test_the_penalty_is_the_best_on_val_and_the_median_is_of_the_one_in_the_middle():
    grid, parts = (1e-4, 1e-2, 1.0, 1e2, 1e4), []
    for seed, n in enumerate((40, 60, 80)):
        generator = torch.Generator().manual_seed(seed)
        x = 3 + 2 * torch.randn(n, 20, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, 3, generator=generator)
        parts.append((x, torch.stack([x[:, label] + 2 * noise[:, label] > 3 + label for label in range(3)], dim=1)))
    mean, std = parts[0][0].mean(dim=0), parts[0][0].std(dim=0)
    (x, y), val, test = (((x - mean) / std, y.double()) for x, y in parts)
    fitted = one_vs_rest(x, y, grid)
    on_val, on_test = (
        [sum(map(brute_force, scores.T, answers.T)) / 3 for scores in fitted.logits(x)] for x, answers in (val, test)
    )
    ranked = sorted(range(5), key=on_val.__getitem__)
    assert len({round(value, 4) for value in on_val}) == len({round(value, 4) for value in on_test}) == 5
    found = multi_label_probe(*parts, c=grid)
    assert found.c == grid[ranked[-1]]
    assert (found.score.value, found.median) == pytest.approx((on_test[ranked[-1]], on_test[ranked[2]]))


def test_bad_labels_are_refused(blobs):
    train, val, (x, y) = some_labels(blobs[0])
    with pytest.raises(UserError, match="test labels: label 2 is the same for all rows"):
        multi_label_probe(train, val, (x, F.pad(y[:, :2], (0, 1))))
    with pytest.raises(UserError, match="each 0 or 1"):
        multi_label_probe(train, val, (x, y + 1))
    with pytest.raises(UserError, match=r"test labels: got \(200, 2\); expected .* K of them in each split"):
        multi_label_probe(train, val, (x, y[:, :2]))
