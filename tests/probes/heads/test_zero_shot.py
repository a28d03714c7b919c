import pytest
import torch
from torch.nn import functional as F

from jepa_wm.errors import UserError
from jepa_wm.statistics import wilson
from probes.heads.zero_shot import class_vectors, zero_shot


def test_every_sentence_counts_the_same():
    sentences = torch.tensor([[[9.0, 0.0], [0.0, 1.0]], [[0.0, -2.0], [0.0, -5.0]]])
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(class_vectors(sentences), expected)
    with pytest.raises(UserError, match="S sentences a class"):
        class_vectors(sentences[0])


def test_the_measures_are_brute_force():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(7, 5, generator=generator)
    labels = torch.cat([torch.arange(7), torch.randint(6, (80,), generator=generator)])
    images = 3 * (F.normalize(classes, dim=1)[labels] + torch.randn(87, 5, generator=generator))
    found = zero_shot(images, labels, 4 * classes)
    right, among, by_class = 0, 0, {label: [] for label in range(7)}
    for image, label in zip(images, labels.tolist(), strict=True):
        order = F.cosine_similarity(image[None], classes).argsort(descending=True).tolist()
        right += order[0] == label
        among += label in order[:5]
        by_class[label].append(order[0] == label)
    assert found.top1.value == pytest.approx(right / 87) and found.top5.value == pytest.approx(among / 87)
    assert found.recall.value == pytest.approx(sum(sum(hits) / len(hits) for hits in by_class.values()) / 7)
    counts = sorted((len(hits) for hits in by_class.values()), reverse=True)
    assert found.top1.null == pytest.approx(counts[0] / 87) and found.top5.null == pytest.approx(sum(counts[:5]) / 87)
    assert found.recall.null == pytest.approx(1 / 7)
    for score in found:
        assert score.interval[0] < score.value < score.interval[1] and score.n == 87


def test_embeddings_that_know_nothing_are_at_chance():
    generator = torch.Generator().manual_seed(1)
    images, classes = (torch.randn(n, 16, generator=generator) for n in (2000, 10))
    found = zero_shot(images, torch.arange(2000) % 10, classes)
    for score, chance in zip(found, (0.1, 0.5, 0.1), strict=True):
        assert score.null == pytest.approx(chance) and abs(score.value - chance) < 4 * (0.25 / 2000) ** 0.5


def test_fewer_than_five_classes_and_an_absent_one():
    classes = torch.eye(3)
    found = zero_shot(classes[[0, 0, 1]], torch.tensor([0, 0, 1]), classes)
    assert [score.value for score in found] == [1.0, 1.0, 1.0] and found.top5.null == 1.0
    assert all(score.interval == pytest.approx(wilson(3, 3)) for score in found)


def test_bad_input_is_refused():
    classes = torch.eye(3)
    with pytest.raises(UserError, match="got 3, expected classes from 0 to 2"):
        zero_shot(classes, torch.tensor([0, 1, 3]), classes)
    with pytest.raises(UserError, match="expected the same width"):
        zero_shot(classes, torch.arange(3), torch.eye(4))
    with pytest.raises(UserError, match="images: row 0 holds NaN"):
        zero_shot(classes * torch.nan, torch.arange(3), classes)
