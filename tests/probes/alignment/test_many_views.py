"""Several views of an item: pooled by hand, and overlap that counts classes."""

import pytest
import torch

from jepa_wm.errors import UserError
from probes.alignment.many import pooled, tolerant_overlap
from probes.metrics.mutual_knn import mutual_knn


def test_pooling_by_hand():
    x = torch.tensor([[3.0, 4.0], [10.0, 0.0], [0.0, 0.1], [0.0, 2.0]])
    assert torch.allclose(pooled(x, torch.tensor([7, 2, 7, 2])), torch.tensor([[0.5, 0.5], [0.3, 0.9]]).double())


def test_pooling_views_brings_models_together():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(100, 6, generator=generator)
    items = torch.arange(100).repeat(5)
    x, y = (hidden.repeat(5, 1) + 1.5 * torch.randn(500, 6, generator=generator) for _ in range(2))
    one, all_of_them = mutual_knn(x[:100], y[:100]), mutual_knn(pooled(x, items), pooled(y, items))
    assert all_of_them.value > one.value + 0.1


def test_overlap_of_single_items_is_mutual_knn():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 60, 5, generator=generator)
    y = x + y
    value, null = tolerant_overlap(x, y, torch.randperm(60, generator=generator), k=6)
    assert value == pytest.approx(mutual_knn(x, y, k=6).value)
    # Lists whole in another row's place may hold the row itself: k / n and not k / (n - 1).
    assert null == pytest.approx(6 / 60, abs=0.01)


def test_overlap_by_hand():
    # In x the neighbours of 0 are 1 and 2, in y 3 and 1; classes a b b a: {b, b} and {a, b} share one b.
    angles = torch.tensor([[0.0, 0.1, 0.2, 1.0], [0.0, 0.2, 1.0, 0.1]])
    x, y = (torch.stack([row.cos(), row.sin()], dim=1) for row in angles)
    value, _ = tolerant_overlap(x, y, torch.tensor([0, 1, 1, 0]), k=2)
    # Row 1: x {0, 2} = {a, b}, y {3, 0} = {a, a}: 1. Row 2: {1, 0} = {b, a}, {1, 3} = {b, a}: 2.
    # Row 3: {2, 1} = {b, b}, {0, 1} or {1, 0} = {a, b}: 1.
    assert value == (1 + 1 + 2 + 1) / 8


def test_classes_alone_are_agreement_about_classes():
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(4).repeat_interleave(40)
    centres = 4 * torch.eye(4, 8)
    x, y = (centres[classes] + 0.5 * torch.randn(160, 8, generator=generator) for _ in range(2))
    value, null = tolerant_overlap(x, y, classes)
    assert value > 0.98
    assert null == pytest.approx(0.25, abs=0.03)
    # Within a class the two know nothing of each other: 10 of the 39 others.
    assert mutual_knn(x, y).value == pytest.approx(10 / 39, abs=0.03)


def test_bad_views_are_refused():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(UserError, match="item 4: its views cancel"):
        pooled(x, torch.tensor([4, 4, 5]))
    with pytest.raises(UserError, match="expected the item of each of 3 rows"):
        pooled(x, torch.arange(2))
    with pytest.raises(UserError, match="the same rows"):
        tolerant_overlap(x, x[:2], torch.arange(3))
