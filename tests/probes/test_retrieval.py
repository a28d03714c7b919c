import pytest
import torch

from jepa_wm.errors import UserError
from probes.retrieval import chance, recall_at_k


def test_recall_counts_queries_that_hit():
    gallery = torch.eye(6)
    queries = gallery[[0, 1, 2, 3]] + 0.1 * gallery[[5, 5, 5, 5]]
    relevant = torch.zeros(4, 6, dtype=torch.bool)
    relevant[0, 0] = relevant[1, 1] = relevant[2, 5] = relevant[3, 4] = True
    assert recall_at_k(queries, gallery, relevant, k=1).value == 0.5
    assert recall_at_k(queries, gallery, relevant, k=2).value == 0.75
    assert recall_at_k(3 * queries, gallery, relevant, k=6)[:2] == (1.0, 1.0)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_chance_is_that_of_random_rankings(k):
    generator = torch.Generator().manual_seed(0)
    relevant = torch.rand(30, 12, generator=generator) < 0.2
    relevant[:, 0] = True
    hits = 0.0
    for _ in range(2000):
        ranking = torch.rand(30, 12, generator=generator).argsort(dim=1)[:, :k]
        hits += relevant.gather(1, ranking).any(dim=1).double().mean().item() / 2000
    assert chance(relevant.sum(dim=1), 12, k) == pytest.approx(hits, abs=0.008)


def test_independent_embeddings_are_at_chance():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(n, 16, generator=generator) for n in (800, 100))
    relevant = torch.arange(800)[:, None] % 20 == torch.arange(100) % 20
    score = recall_at_k(queries, gallery, relevant, k=4)
    assert score.null == pytest.approx(1 - (95 * 94 * 93 * 92) / (100 * 99 * 98 * 97))
    assert score.interval[0] < score.null < score.interval[1]
    assert score.n == 800


def test_bad_relevance_is_refused():
    x = torch.randn(3, 2)
    with pytest.raises(UserError, match="query 1 has no relevant row"):
        recall_at_k(x, x, torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, 1]]).bool())
    with pytest.raises(UserError, match="relevant: got shape"):
        recall_at_k(x, x, torch.eye(2).bool())
