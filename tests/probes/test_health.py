import pytest
import torch

from jepa_wm.errors import UserError
from probes.health import lidar, participation_ratio, rankme, spread


def orthonormal(n, d):
    return torch.linalg.qr(torch.randn(n, d, dtype=torch.float64)).Q


def test_rankme_closed_forms():
    assert rankme(orthonormal(300, 64)) == 64
    assert rankme(orthonormal(64, 64)[:, :20] @ orthonormal(100, 20).T) == pytest.approx(20, rel=1e-3)
    two = torch.diag(torch.tensor([3.0, 1.0]))
    assert rankme(two) == pytest.approx(4 / 3**0.75, rel=1e-5)
    assert rankme(100 * two) == pytest.approx(rankme(two), rel=1e-6)


def test_rankme_never_passes_its_bounds():
    assert rankme(torch.eye(1024)) == 1024
    assert rankme(torch.ones(50, 40)) == pytest.approx(1, rel=1e-3)
    assert rankme(torch.zeros(50, 40)) == pytest.approx(1, rel=1e-3)


def test_participation_ratio_closed_forms():
    q = orthonormal(200, 9)
    q = torch.linalg.qr(q - q.mean(0)).Q
    assert participation_ratio(q + 7) == pytest.approx(9)
    variances = torch.tensor([4.0, 1.0, 1.0])
    assert participation_ratio(q[:, :3] * variances.sqrt()) == pytest.approx(36 / 18)
    assert participation_ratio(torch.ones(20, 3)) == 0.0


def test_spread_finds_dead_dimensions():
    x = torch.randn(5000, 10, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 11)
    x[:, :3] *= 1e-4
    found = spread(x)
    assert found["dead"] == pytest.approx(0.3)
    assert found["max"] == pytest.approx(10, rel=0.05)
    assert found["min"] == pytest.approx(1e-4, rel=0.05)
    assert found["median"] == pytest.approx(5.5, rel=0.05)
    assert spread(torch.ones(10, 4)) == {"min": 0, "median": 0, "max": 0, "dead": 1}


def test_bad_matrices_are_refused():
    with pytest.raises(UserError, match=r"expected \(n, d\)"):
        rankme(torch.randn(2, 3, 4))
    with pytest.raises(UserError, match="row 1 holds NaN"):
        spread(torch.tensor([[1.0], [float("nan")]]))


def slow_lidar(x, delta):
    """The definition, term by term."""
    classes, views, width = x.shape
    means = [x[i].mean(0) for i in range(classes)]
    centre = sum(means) / classes
    between = sum(torch.outer(mean - centre, mean - centre) for mean in means) / classes
    within = sum(torch.outer(x[i, j] - means[i], x[i, j] - means[i]) for i in range(classes) for j in range(views))
    values, vectors = torch.linalg.eigh(within / (classes * views) + delta * torch.eye(width, dtype=x.dtype))
    root = vectors @ torch.diag(values**-0.5) @ vectors.T
    p = torch.linalg.eigvalsh(root @ between @ root).clamp(min=0)
    p = p / p.sum() + 1e-7
    return torch.exp(-(p * p.log()).sum()).item()


def test_lidar_is_its_definition():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(30, 1, 6, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 2, 1, 0.5, 0.1, 0])
    x = centres + torch.randn(30, 4, 6, generator=generator, dtype=torch.float64) * torch.arange(1, 7) / 5
    for delta in (1e-4, 0.3):
        assert lidar(x, delta) == pytest.approx(slow_lidar(x, delta), rel=1e-9)
    assert lidar(x.float()) == pytest.approx(lidar(x), rel=1e-4)


def test_lidar_counts_what_tells_classes_apart_and_not_noise():
    generator = torch.Generator().manual_seed(0)
    centres = torch.zeros(200, 1, 16)
    centres[..., :3] = torch.randn(200, 1, 3, generator=generator)
    noise = torch.randn(200, 8, 16, generator=generator)
    clear = centres + 1e-3 * noise * torch.tensor([1.0] * 3 + [1000.0] * 13)
    # RankMe takes the noise of thirteen dimensions for something.
    assert lidar(clear) == pytest.approx(3, rel=0.1) and rankme(clear.flatten(0, 1)) > 10
    # Equal distances between classes in every direction: as many as there can be.
    assert lidar(torch.eye(5)[:, None].expand(-1, 2, -1)) == pytest.approx(4, rel=1e-3)
    assert lidar(torch.ones(5, 3, 4)) == pytest.approx(1, rel=1e-3)


def test_lidar_refuses_what_has_no_classes_or_views():
    for shape in ((1, 2, 3), (2, 1, 3), (4, 3)):
        with pytest.raises(UserError, match="at least 2 of both"):
            lidar(torch.zeros(shape))
    with pytest.raises(UserError, match="NaN"):
        lidar(torch.full((2, 2, 2), float("nan")))
