import pytest
import torch
from torch.nn import functional as F

from jepa_wm.errors import UserError
from jepa_wm.statistics import wilson
from probes.knn import knn_classify, knn_regress
from probes.neighbours import neighbours


def test_neighbours_are_brute_force():
    x, y = torch.randn(80, 7), torch.randn(50, 7)
    similarity = F.normalize(x.double(), dim=1) @ F.normalize(y.double(), dim=1).T
    assert torch.equal(neighbours(x, 6, y), similarity.topk(6, dim=1).indices)
    own = F.normalize(x.double(), dim=1) @ F.normalize(x.double(), dim=1).T
    assert torch.equal(neighbours(x, 6), own.fill_diagonal_(-9).topk(6, dim=1).indices)


def test_no_row_is_its_own_neighbour_among_duplicates():
    x = torch.randn(10, 4).repeat(6, 1)
    found = neighbours(x, 5)
    assert (found != torch.arange(60)[:, None]).all()
    assert (found % 10 == torch.arange(60)[:, None] % 10).all()
    # More copies than places: a row need not meet itself at all.
    found = neighbours(x, 3)
    assert found.shape == (60, 3) and (found % 10 == torch.arange(60)[:, None] % 10).all()
    assert all(len(set(row)) == 3 and i not in row for i, row in enumerate(found.tolist()))


def test_k_must_fit():
    with pytest.raises(UserError, match="expected 1 to 9"):
        neighbours(torch.randn(10, 3), 10)
    assert sorted(neighbours(torch.randn(10, 3), 9)[4].tolist()) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    with pytest.raises(UserError, match="wide"):
        neighbours(torch.randn(10, 3), 2, torch.randn(10, 4))


def test_votes_are_brute_force():
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randn(n, 5, generator=generator) for n in (150, 90))
    labels, truth = ((x[:, 0] > 0).long() + (x[:, 1] > 1).long() for x in (train, test))
    for temperature in (0.07, 1.0):
        similarity = F.normalize(test.double(), dim=1) @ F.normalize(train.double(), dim=1).T
        hits = 0
        for row, answer in zip(similarity, truth, strict=True):
            votes = torch.zeros(3, dtype=torch.float64)
            for j in row.argsort(descending=True)[:9]:
                votes[labels[j]] += torch.exp(row[j] / temperature)
            hits += int(votes.argmax() == answer)
        score = knn_classify(train, labels, test, truth, k=9, temperature=temperature)
        assert score.value == hits / 90
        assert score.interval == wilson(hits, 90)
    assert score.null == (truth == labels.mode().values).double().mean().item()
    assert score.value > score.null + 0.1


def test_near_voters_outweigh_many_far_ones_when_cold():
    train = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 1.1]])
    labels = torch.tensor([1, 0, 0])
    query, truth = torch.tensor([[1.0, 0.05]]), torch.tensor([1])
    assert knn_classify(train, labels, query, truth, k=3, temperature=0.07).value == 1.0
    assert knn_classify(train, labels, query, truth, k=3, temperature=10.0).value == 0.0


def test_a_regression_by_neighbours_is_brute_force():
    generator = torch.Generator().manual_seed(0)
    # A large mean that all rows share must not hide which are near.
    train, test = (torch.randn(n, 5, generator=generator) + 30.0 for n in (150, 40))
    y, truth = (torch.stack([x[:, 0], x[:, 1] - x[:, 2]], dim=1) for x in (train, test))
    mean, predicted = train.mean(dim=0), []
    for row in test:
        similarity = F.cosine_similarity((row - mean)[None].double(), (train - mean).double())
        nearest = similarity.argsort(descending=True)[:7]
        weights = torch.exp(similarity[nearest] / 0.2)
        predicted.append((weights[:, None] * y[nearest].double()).sum(dim=0) / weights.sum())
    error = (torch.stack(predicted) - truth).square().sum(dim=0)
    expected = (1 - error / (truth - truth.mean(dim=0)).square().sum(dim=0)).mean().item()
    found = knn_regress(train, y, test, truth, k=7, temperature=0.2)
    assert found == pytest.approx(expected, abs=1e-4) and found > 0.3
