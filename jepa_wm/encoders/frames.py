"""How each frame of a clip becomes latents of a world model: pooled into one, its patches, the state beside them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.contracts import Encoder
from jepa_wm.errors import UserError
from jepa_wm.standard import Standard


class Frames(nn.Module):
    """A way to read frames, which are encoded one by one.

    Attributes:
        state_dim: numbers P of the state that are read beside the pixels.
    """

    state_dim = 0

    def latent_dim(self, encoder: Encoder) -> int:
        """Width D of a latent."""
        raise NotImplementedError

    def forward(self, encoder: Encoder, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        """Pixels uint8 (B, T, C, H, W), and the state (B, T, P) where it is read -> latents float32 (B, T, N, D)."""
        raise NotImplementedError

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the data's statistics before training."""


class PooledFrames(Frames):
    """One latent a frame: the encoder's pooled one."""

    def latent_dim(self, encoder: Encoder) -> int:
        return encoder.latent_dim

    def forward(self, encoder: Encoder, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        latents = encoder.pooled(pixels.flatten(0, 1)).float()
        return latents.unflatten(0, pixels.shape[:2])[:, :, None]


class PatchFrames(Frames):
    """The patch tokens of a frame.

    Args:
        normalise: layer-normalise each token, without affine (V-JEPA 2-AC, arXiv 2506.09985).
    """

    def __init__(self, normalise: bool = False) -> None:
        super().__init__()
        self.normalise = normalise

    def latent_dim(self, encoder: Encoder) -> int:
        return encoder.dim

    def forward(self, encoder: Encoder, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        tokens = encoder(pixels.flatten(0, 1)).float()
        tokens = F.layer_norm(tokens, tokens.shape[-1:]) if self.normalise else tokens
        return tokens.unflatten(0, pixels.shape[:2])


class StateFrames(Frames):
    """Latents with what the agent feels of itself beside them: the state, normalised and embedded, in every token.

    Args:
        frames: how pixels are read.
        state_dim: P.
        width: channels that the embedded state takes.

    Source: DINO-WM (arXiv 2411.04983), whose tokens carry ten such channels.
    """

    def __init__(self, frames: Frames, state_dim: int, width: int = 10) -> None:
        super().__init__()
        self.frames, self.state_dim, self.width = frames, state_dim, width
        self.standard = Standard(state_dim, "state")
        self.embed = nn.Linear(state_dim, width)

    def latent_dim(self, encoder: Encoder) -> int:
        return self.frames.latent_dim(encoder) + self.width

    def forward(self, encoder: Encoder, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        if state is None or state.shape[-1] != self.state_dim:
            got = "none" if state is None else f"{state.shape[-1]} numbers a frame"
            raise UserError(f"StateFrames: got a state of {got}; expected {self.state_dim} beside the pixels")
        latents = self.frames(encoder, pixels)
        felt = self.embed(self.standard(state)).float()
        return torch.cat([latents, felt[:, :, None].expand(-1, -1, latents.shape[2], -1)], dim=-1)

    def prepare(self, statistics: dict[str, Any]) -> None:
        self.standard.prepare(statistics)
