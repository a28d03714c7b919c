"""What a saved world model still knows: what its heads read, and how wrong it expects to be."""

from pathlib import Path

import torch

from jepa_wm.dynamics import Ensemble, TransformerDynamics, Trunk
from jepa_wm.dynamics.calibration import Calibration
from jepa_wm.dynamics.heads import RewardHead, StateHead
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.world_model import WorldModel

SEEN = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ACTIONS = torch.rand(4, 3, 10, generator=torch.Generator().manual_seed(1))


def made() -> WorldModel:
    """A world model of two predictors that differ, with two heads that read something."""
    torch.manual_seed(0)
    members = Ensemble(TransformerDynamics(6, trunk=Trunk(12, 1, 2)), 2)
    where, gain = StateHead(6, width=8), RewardHead(6, width=8)
    for parameter in (*members.parameters(), *gain.parameters()):
        parameter.data += 0.3 * torch.randn_like(parameter)
    where.prepare({"state_mean": [1.0, 20.0], "state_std": [0.5, 10.0]})
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    calibration = Calibration(6, waves=16)
    return WorldModel(encoder, members, heads={"where": where, "gain": gain}, calibration=calibration).eval()


def test_heads_read_the_same_under_the_same_names(tmp_path: Path) -> None:
    model = made()
    model.save_pretrained(tmp_path / "saved")
    told = model.imagine(SEEN, ACTIONS).readouts
    assert {name: read.shape for name, read in told.items()} == {"where": (4, 3, 2), "gain": (4, 3)}
    torch.testing.assert_close(WorldModel.from_pretrained(tmp_path / "saved").imagine(SEEN, ACTIONS).readouts, told)


def test_the_error_to_be_expected_is_the_one_that_was_fitted(tmp_path: Path) -> None:
    model, saved = made(), tmp_path / "saved"
    fresh = model.imagine(SEEN, ACTIONS).uncertainty
    signs = torch.rand(40, 3, 14) + 0.1
    assert model.calibration is not None and fresh is not None
    model.calibration.fit(signs, 3 * signs[..., 0].sqrt() * signs[..., 5].exp())
    model.save_pretrained(saved)
    fitted, again = (each.imagine(SEEN, ACTIONS).uncertainty for each in (model, WorldModel.from_pretrained(saved)))
    assert not torch.allclose(fitted, fresh, rtol=0.1)  # type: ignore[arg-type]
    torch.testing.assert_close(again, fitted)
