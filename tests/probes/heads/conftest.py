"""Small worlds whose answers are known."""

import pytest
import torch


@pytest.fixture(scope="session")
def blobs():
    """Train, val and test of four classes around four points, five rows an episode, and the episodes."""
    centres = 4 * torch.eye(4, 6)
    splits = []
    for seed, n in enumerate((300, 100, 200)):
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(n) // 5 % 4
        splits.append((3 + centres[y] + 0.5 * torch.randn(n, 6, generator=generator), y))
    return splits, torch.arange(600) // 5


@pytest.fixture(scope="session")
def ignorant(blobs):
    """The same labels, with features that know nothing of them."""
    splits, groups = blobs
    generator = torch.Generator().manual_seed(9)
    return [(torch.randn(x.shape, generator=generator), y) for x, y in splits], groups


@pytest.fixture(scope="session")
def xor():
    """Labels that are the exclusive or of the signs of two features."""
    splits = []
    for seed, n in enumerate((600, 200, 300)):
        x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
        splits.append((x, (x[:, 0] * x[:, 1] > 0).long()))
    return splits
