import pytest
import torch

from jepa_wm.errors import UserError
from jepa_wm.statistics import wilson
from probes.heads.few_shot import draw, few_shot, logistic_logits, nearest_mean, ridge_logits


def test_examples_are_so_many_of_each_class():
    labels = torch.tensor([0] * 5 + [1] * 9 + [2] * 4)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([draw(labels, 3, generator) for _ in range(200)])
    assert (labels[draws] == torch.tensor([0] * 3 + [1] * 3 + [2] * 3)).all()
    assert all(len(set(rows)) == 9 for rows in draws.tolist())
    # Every row has its turn, as often as others of its class.
    turns = draws.flatten().bincount(minlength=18)
    assert turns[5:14].min() > 40 and turns[5:14].sum() == 600


@pytest.mark.parametrize("classifier", [nearest_mean, ridge_logits, logistic_logits])
def test_classifiers_agree_where_classes_are_apart(classifier):
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 5, generator=generator, dtype=torch.float64) + 7
    labels = torch.arange(30) % 3
    x = centres[labels] + 0.01 * torch.randn(30, 5, generator=generator, dtype=torch.float64)
    assert classifier(x[:12], labels[:12], x).argmax(dim=1).equal(labels)


def test_the_nearest_mean_is_nearest():
    generator = torch.Generator().manual_seed(0)
    x, queries = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (20, 50))
    labels = torch.arange(20) % 4
    means = torch.stack([x[labels == i].mean(dim=0) for i in range(4)])
    found = nearest_mean(x, labels, queries)
    expected = -torch.cdist(queries, means).square()
    torch.testing.assert_close(found.diff(dim=1), expected.diff(dim=1))


def test_more_examples_help_and_the_classifier_is_chosen_on_val(blobs):
    def hard(parts):
        return [(x + 1.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(len(y))), y) for x, y in parts]

    never = {"nearest mean": nearest_mean, "wrong": lambda x, y, queries: -nearest_mean(x, y, queries)}
    one, ten = few_shot(*hard(blobs[0]), blobs[1], (1, 10), never, draws=40)
    assert one.shots == 1 and one.chosen == ten.chosen == "nearest mean"
    assert one.score.null == 0.25 < one.score.value < ten.score.value - 0.1
    assert one.spread[1] - one.spread[0] > ten.spread[1] - ten.spread[0]
    for each in (one, ten):
        low, high = each.score.interval
        assert low < each.score.value < high and each.score.n == 200
    # The mean over draws is known better than a single one.
    assert one.score.interval[1] - one.score.interval[0] < one.spread[1] - one.spread[0]


def test_where_all_answers_are_right_the_rate_is_not_known_exactly():
    labels = [torch.arange(n) % 4 for n in (40, 20, 80)]
    parts = [(9 * torch.eye(4)[y] + 0.1 * torch.randn(len(y), 4), y) for y in labels]
    (found,) = few_shot(*parts, shots=(5,), draws=10)
    assert found.score.value == 1 and found.score.interval == pytest.approx(wilson(80, 80))


def test_noise_is_at_chance(ignorant):
    (found,) = few_shot(*ignorant[0], ignorant[1], (5,), draws=40)
    assert abs(found.score.value - 0.25) < 4 * (0.25 * 0.75 / 200) ** 0.5


def test_a_class_needs_as_many_rows(blobs):
    with pytest.raises(UserError, match="from 1 to the 75 training rows of class 0"):
        few_shot(*blobs[0], blobs[1], (80,))
