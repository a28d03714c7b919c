"""Spectra, the sphere, straightness and their intervals: closed forms and the definitions, term by term."""

import math

import pytest
import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.health import (
    alignment,
    alpha_req,
    curvature,
    effective_rank,
    jackknife,
    nesum,
    participation_ratio,
    scored,
    straightness,
    uniformity,
)


def with_variances(variances: Tensor, n: int = 300) -> Tensor:
    """Rows (n, d) whose covariance, times n, has exactly these eigenvalues, turned and moved."""
    generator = torch.Generator().manual_seed(0)
    d = len(variances)
    noise = torch.randn(n, d, generator=generator, dtype=torch.float64)
    q = torch.linalg.qr(noise - noise.mean(dim=0)).Q
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    return q * variances.double().sqrt() @ turn + 3


def test_what_is_alike_in_all_directions_has_the_rank_d() -> None:
    x = with_variances(torch.full((7,), 2.0))
    for rank in (effective_rank, nesum, participation_ratio):
        assert rank(x) == pytest.approx(7, rel=1e-9)
    assert alpha_req(x).alpha == pytest.approx(0, abs=1e-9)


def test_ranks_of_a_known_spectrum() -> None:
    x = with_variances(torch.tensor([6.0, 3.0, 1.0]))
    p = torch.tensor([0.6, 0.3, 0.1])
    assert effective_rank(x) == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-6)
    assert nesum(x) == pytest.approx(10 / 6)
    assert effective_rank(torch.ones(5, 3)) == nesum(torch.ones(5, 3)) == 0.0


def test_a_power_law_gives_its_exponent_and_says_where_it_was_fitted() -> None:
    index = torch.arange(1, 81, dtype=torch.float64)
    found = alpha_req(with_variances(index**-1.3))
    assert found.alpha == pytest.approx(1.3, rel=1e-6) and found[1:3] == (11, 50) and found.r2 == pytest.approx(1)
    few = alpha_req(with_variances(index[:8] ** -0.7))
    assert few.alpha == pytest.approx(0.7, rel=1e-6) and few[1:3] == (1, 8)
    # A knee at 20: each side of it has its own exponent.
    knee = torch.where(index <= 20, index**-0.5, 20**1.5 * index**-2.0)
    x = with_variances(knee)
    assert alpha_req(x, (1, 20)).alpha == pytest.approx(0.5, rel=1e-5)
    assert alpha_req(x, (20, 60)).alpha == pytest.approx(2.0, rel=1e-5)
    assert 0.5 < alpha_req(x, (5, 60)).alpha < 2.0 and alpha_req(x, (5, 60)).r2 < 0.99


def test_the_fit_weighs_each_index_by_its_inverse() -> None:
    values = torch.tensor([9.0, 5.0, 1.0, 0.7])
    u, v, w = torch.arange(1, 5).double().log(), values.double().log(), 1 / torch.arange(1, 5).double()
    design = torch.stack([u, torch.ones(4)], dim=1).double()
    slope = torch.linalg.solve(design.T @ (w[:, None] * design), design.T @ (w * v))[0]
    assert alpha_req(with_variances(values)).alpha == pytest.approx(-slope.item(), rel=1e-6)
    with pytest.raises(UserError, match="got 1 eigenvalues above rounding"):
        alpha_req(torch.arange(6.0)[:, None].expand(-1, 4))


def test_uniformity_on_the_sphere() -> None:
    pair = torch.tensor([[2.0, 0], [-5.0, 0]])
    assert uniformity(pair) == pytest.approx(-8)
    assert uniformity(pair, t=1) == pytest.approx(-4)
    assert uniformity(7 * torch.eye(1100)) == pytest.approx(-4)
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-12)
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = x / x.norm(dim=1, keepdim=True)
    terms = [math.exp(-2 * (z[i] - z[j]).square().sum()) for i in range(9) for j in range(i)]
    assert uniformity(x) == pytest.approx(math.log(sum(terms) / len(terms)), rel=1e-9)
    with pytest.raises(UserError, match="row 1 is zero"):
        uniformity(torch.tensor([[1.0, 0], [0, 0]]))


def test_alignment_on_the_sphere() -> None:
    x = torch.tensor([[1.0, 0], [0, 2]])
    assert alignment(x, 3 * x) == pytest.approx(0)
    assert alignment(x, -x) == pytest.approx(4)
    assert alignment(x, x.flip(0)) == pytest.approx(2)
    assert alignment(x, torch.tensor([[1.0, 0], [0, -1]])) == pytest.approx(2)
    with pytest.raises(UserError, match="two views of one width"):
        alignment(x, torch.ones(2, 3))


def test_a_line_is_straight_at_any_pace_and_pauses_are_not_counted() -> None:
    at = torch.tensor([0.0, 1, 4, 4, 5, 9])
    line = at[None, :, None] * torch.tensor([[[1.0, -2, 3]], [[-1, 0, 0]]])
    assert straightness(line) == pytest.approx(1)
    assert curvature(line) == pytest.approx(0, abs=1e-4)
    assert straightness(torch.tensor([0.0, 1, 0, 1])[None, :, None]) == pytest.approx(-1)
    with pytest.raises(UserError, match="nothing moves twice"):
        straightness(torch.ones(2, 5, 3))


@pytest.mark.parametrize("angle", [10.0, 60.0, 135.0])
def test_a_circle_turns_by_its_angle(angle: float) -> None:
    way = torch.deg2rad(angle * torch.arange(9, dtype=torch.float64))
    circle = torch.stack([way.cos(), way.sin(), torch.zeros(9)], dim=1)[None] * 5 + 1
    assert curvature(circle) == pytest.approx(angle)
    assert straightness(circle) == pytest.approx(math.cos(math.radians(angle)))


def test_independent_latents_turn_back_by_half() -> None:
    x = torch.randn(200, 40, 32, generator=torch.Generator().manual_seed(0))
    assert straightness(x) == pytest.approx(-0.5, abs=0.01)
    assert curvature(x) == pytest.approx(120, abs=1)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = torch.randn(400, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    low, high = jackknife(lambda rows: rows.mean().item(), x, blocks=400)
    assert (low + high) / 2 == pytest.approx(x.mean().item())
    assert (high - low) / 2 == pytest.approx(1.96 * x.std().item() / 20, rel=0.01)
    # Rows of an episode that are all alike count as one.
    repeated, groups = x[:40].repeat_interleave(10, dim=0), torch.arange(40).repeat_interleave(10)
    low, high = jackknife(lambda rows: rows.mean().item(), repeated, groups, blocks=40)
    assert (high - low) / 2 == pytest.approx(2.0227 * x[:40].std().item() / 40**0.5, rel=0.01)
    with pytest.raises(UserError, match="at least 2 episodes"):
        jackknife(lambda rows: 0.0, x, torch.zeros(400))


def test_intervals_of_a_rank_hold_what_other_samples_score() -> None:
    generator = torch.Generator().manual_seed(2)
    scale = torch.arange(1, 13).double() ** -0.5
    samples = [torch.randn(300, 12, generator=generator, dtype=torch.float64) * scale for _ in range(40)]
    truth = sum(map(effective_rank, samples)) / len(samples)
    held = [low <= truth <= high for low, high in map(lambda x: jackknife(effective_rank, x), samples)]
    assert sum(held) >= 34
    found = scored(effective_rank, samples[0])
    assert found.interval[0] < found.value < found.interval[1] < found.null <= 12 and found.n == 300
