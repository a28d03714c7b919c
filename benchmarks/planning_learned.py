"""Our predictor of LeWM's size, learned from the clips that the peer's LeWM learned from, behind its encoder."""

from pathlib import Path

import torch

from benchmarks.dynamics import predictor
from jepa_wm.contracts import Encoder
from jepa_wm.encoders import ViT
from jepa_wm.objectives import Forecasting
from jepa_wm.optim import adamw
from jepa_wm.world_model import WorldModel

BATCH, RATE = 32, 3e-4


def learn(encoder: Encoder, folder: Path, steps: int) -> WorldModel:
    """Train it for as many steps as the peer, of as many clips, at the same rate; the encoder stays as it is."""
    assert isinstance(encoder, ViT)
    torch.manual_seed(0)
    dynamics = predictor()
    clips = torch.load(folder / "clips.pt")
    with torch.no_grad():
        parts = clips["pixels"].flatten(0, 1).split(256)
        latents = torch.cat([encoder.pooled(part) for part in parts]).unflatten(0, clips["pixels"].shape[:2])
    learner = Forecasting(encoder, dynamics, freeze_encoder=True).train()
    optimizer = adamw(learner, RATE, 1e-3, (0.9, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    drawn = torch.Generator().manual_seed(0)
    for step in range(steps):
        batch = torch.randint(len(latents), (BATCH,), generator=drawn)
        with torch.autocast("cpu", torch.bfloat16):
            clip = {"latents": latents[batch][:, :, None], "actions": clips["actions"][batch], "step": step}
            found = learner(clip)["loss"]
        found.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return WorldModel(encoder, dynamics).eval()
