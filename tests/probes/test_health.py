import pytest
import torch

from jepa_wm.errors import UserError
from probes.health import participation_ratio, rankme, spread


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
