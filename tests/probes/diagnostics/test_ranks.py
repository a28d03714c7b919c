"""Rank statistics against their definitions, ties included."""

import math

import pytest
import torch

from probes.diagnostics.ranks import ranks, spearman, wins


def slow_ranks(x: list[float]) -> list[float]:
    ordered = sorted(x)
    places = {value: [i + 1 for i, other in enumerate(ordered) if other == value] for value in x}
    return [sum(places[value]) / len(places[value]) for value in x]


def slow_spearman(x: list[float], y: list[float]) -> float:
    u, v = slow_ranks(x), slow_ranks(y)
    mu, mv = sum(u) / len(u), sum(v) / len(v)
    above = sum((a - mu) * (b - mv) for a, b in zip(u, v, strict=True))
    return above / math.sqrt(sum((a - mu) ** 2 for a in u) * sum((b - mv) ** 2 for b in v))


def test_ranks_with_ties_are_means_of_places() -> None:
    assert ranks(torch.tensor([3.0, 1, 3, 2, 3])).tolist() == [4, 1, 4, 2, 4]
    x = torch.randint(0, 5, (3, 20), generator=torch.Generator().manual_seed(0)).float()
    assert ranks(x).tolist() == [slow_ranks(row) for row in x.tolist()]


def test_spearman_with_ties() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randint(0, 6, (4, 15), generator=generator).float() for _ in range(2))
    expected = [slow_spearman(*pair) for pair in zip(x.tolist(), y.tolist(), strict=True)]
    assert spearman(x, y).tolist() == pytest.approx(expected, abs=1e-12)
    assert spearman(x, x.exp()).tolist() == pytest.approx([1] * 4) and spearman(x, -x).tolist() == pytest.approx(
        [-1] * 4
    )
    assert spearman(x, torch.ones_like(x)).tolist() == [0] * 4


def test_wins_are_the_area_under_the_curve() -> None:
    high, low = torch.tensor([1.0, 3, 5]), torch.tensor([1.0, 4])
    assert wins(high, low).tolist() == [[0.5, 0], [1, 0], [1, 1]]
