"""PLDM's terms beside those of stable-worldmodel."""

import pytest
import torch

from jepa_wm.objectives.terms import VarianceCovariance

pytest.importorskip("stable_worldmodel")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("std_loss", VarianceCovariance(1.0, 1.0, 0.0)),
        ("cov_loss", VarianceCovariance(1.0, 0.0, 1.0)),
        ("std_t_loss", VarianceCovariance(1.0, 0.0, 0.0, 1.0)),
    ],
)
def test_variance_and_covariance_are_theirs(theirs: str, ours: VarianceCovariance) -> None:
    from stable_worldmodel.wm.loss import VCReg

    # All clips move alike, too: of that nothing may be counted over time.
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(16, 4, 8, generator=draw) / 2 + torch.arange(4.0)[:, None]
    torch.testing.assert_close(ours(latents[:, :, None], None, {}), VCReg()(latents)[theirs])
