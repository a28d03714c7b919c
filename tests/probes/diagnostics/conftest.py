"""A world that is known to the last digit: a point moves by its actions, and its pixels say where it is."""

import pytest
import torch
from torch import Tensor, nn

from jepa_wm.contracts import Dynamics, Encoder
from jepa_wm.world_model import WorldModel
from probes.drift import Film

STEP = 4.0


class Told(Encoder):
    """Reads the place off the first pixel's first two channels."""

    dim = latent_dim = 2

    def pooled(self, pixels: Tensor) -> Tensor:
        return pixels[:, :2, 0, 0].float()


class Shift(Dynamics):
    """z' = z + gain * a."""

    latent_dim, action_dim, frame_skip = 2, 2, 1

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def start(self, latents: Tensor, actions: Tensor) -> Tensor:
        return latents[:, -1]

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        return state + self.gain * action[:, None]

    def latent(self, state: Tensor) -> Tensor:
        return state

    def expand(self, state: Tensor, candidates: int) -> Tensor:
        return state.repeat_interleave(candidates, dim=0)


@pytest.fixture(scope="session")
def perfect() -> WorldModel:
    return WorldModel(Told(), Shift(STEP)).eval()


@pytest.fixture(scope="session")
def deaf() -> WorldModel:
    """Ignores actions."""
    return WorldModel(Told(), Shift(0.0)).eval()


@pytest.fixture(scope="session")
def film() -> Film:
    return walks(0)


def walks(seed: int, episodes: int = 30, blocks: int = 5) -> Film:
    """Random walks on the integers, of four pixels a step, far from where pixels end."""
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randint(-1, 2, (episodes, blocks, 2), generator=generator).float()
    start = torch.randint(60, 190, (episodes, 1, 2), generator=generator).float()
    state = torch.cat([start, start + STEP * actions.cumsum(dim=1)], dim=1)
    third = torch.zeros(episodes, blocks + 1, 1)
    pixels = torch.cat([state, third], dim=-1)[..., None, None].expand(-1, -1, -1, 8, 8).byte()
    return Film(pixels, actions, state)
