"""Reading: terms alone, weighted, on the latents that the frames are."""

import pytest
import torch

from jepa_wm.dynamics.heads import StateHead
from jepa_wm.encoders import GridPool, PooledFrames, StateFrames, ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import Reading
from jepa_wm.objectives.terms import GaussianLatents, HeadTerm

BATCH = {
    "pixels": torch.randint(0, 256, (6, 2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    "state": torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(1)),
    "step": 0,
}


def reading(**terms: object) -> Reading:
    torch.manual_seed(0)
    made = Reading(ViT(8, 1, 16, 1, 2, pooling=GridPool(4, 2)), terms)  # type: ignore[arg-type]
    made.prepare({"state_mean": [0.0, 1.0, 2.0], "state_std": [1.0, 2.0, 0.5]})
    return made


def head(detach: bool, weight: float = 1.0) -> HeadTerm:
    return HeadTerm(StateHead(4, 1, 3, 8), "where", weight, detach)


def test_the_loss_is_the_weighted_sum_of_what_each_term_says_of_every_frame() -> None:
    found = reading(where=head(False, 3.0), sigreg=GaussianLatents(weight=0.25))
    said = found(BATCH)
    latents = found.encoder.pooled(BATCH["pixels"].flatten(0, 1)).view(6, 2, 1, 4)
    where = found.exported()["where"]
    assert isinstance(where, StateHead)
    scaled = (where(latents) - BATCH["state"]) / torch.tensor([1.0, 2.0, 0.5])
    torch.testing.assert_close(said["where"], scaled.square().mean())
    torch.testing.assert_close(said["loss"], 3.0 * said["where"] + 0.25 * said["sigreg"])


def test_frames_that_read_the_state_are_told_its_spread() -> None:
    frames = StateFrames(PooledFrames(), 3, columns=[0, 2])
    found = Reading(ViT(8, 1, 16, 1, 2), {"sigreg": GaussianLatents()}, frames)
    found.prepare({"state_mean": [0.0, 1.0, 2.0], "state_std": [1.0, 2.0, 0.5]})
    torch.testing.assert_close(frames.standard(torch.tensor([3.0, 3.0, 3.0])), torch.tensor([3.0, 1.0, 2.0]))


def test_a_detached_head_reads_an_encoder_that_learns_nothing() -> None:
    for detach in (True, False):
        found = reading(where=head(detach), sigreg=GaussianLatents(weight=0.0))
        found(BATCH)["loss"].backward()
        learned = sum(float(p.grad.abs().sum()) for p in found.encoder.parameters() if p.grad is not None)
        assert (learned == 0) is detach


def test_nothing_asked_is_refused() -> None:
    with pytest.raises(UserError, match=r"Reading\.terms: got none; expected one or more"):
        reading()
