"""How each frame of a clip becomes latents of a world model: pooled into one, its patches, the state beside them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.contracts import Encoder
from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32
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
        latents = at_least_float32(encoder.pooled(pixels.flatten(0, 1)))
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
        tokens = at_least_float32(encoder(pixels.flatten(0, 1)))
        tokens = F.layer_norm(tokens, tokens.shape[-1:]) if self.normalise else tokens
        return tokens.unflatten(0, pixels.shape[:2])


class StateFrames(Frames):
    """Latents with what the agent feels of itself beside them: the state, normalised and embedded, in every token.

    Args:
        frames: how pixels are read.
        state_dim: P.
        width: channels that the embedded state takes.
        columns: of the state, what the agent feels; all of it if none are given.

    Raises:
        UserError: if a column is not of the state.

    Source: DINO-WM (arXiv 2411.04983), whose tokens carry ten such channels.
    """

    def __init__(self, frames: Frames, state_dim: int, width: int = 10, columns: list[int] | None = None) -> None:
        super().__init__()
        self.frames, self.state_dim, self.width = frames, state_dim, width
        self.columns = list(range(state_dim)) if columns is None else list(columns)
        if not self.columns or not set(self.columns) <= set(range(state_dim)):
            raise UserError(f"StateFrames.columns: got {self.columns}; expected some of 0 to {state_dim - 1}")
        self.standard = Standard(state_dim, "state")
        self.embed = nn.Linear(len(self.columns), width)

    def latent_dim(self, encoder: Encoder) -> int:
        return self.frames.latent_dim(encoder) + self.width

    def forward(self, encoder: Encoder, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        state = _checked(state, pixels, self.state_dim, "StateFrames")
        latents = self.frames(encoder, pixels)
        felt = at_least_float32(self.embed(self.standard(state)[..., self.columns]))
        return torch.cat([latents, felt[:, :, None].expand(-1, -1, latents.shape[2], -1)], dim=-1)

    def prepare(self, statistics: dict[str, Any]) -> None:
        self.frames.prepare(statistics)
        self.standard.prepare(statistics)


class StateToken(Frames):
    """Latents with the state behind those of its frame, as a token of its own: its numbers as they are, then zeros.

    Args:
        frames: how pixels are read.
        state_dim: P, at most the width of a latent.

    Source: V-JEPA 2-AC (arXiv 2506.09985), whose predictor embeds it; so the token must hold the state itself.
    """

    def __init__(self, frames: Frames, state_dim: int) -> None:
        super().__init__()
        self.frames, self.state_dim = frames, state_dim

    def latent_dim(self, encoder: Encoder) -> int:
        return self.frames.latent_dim(encoder)

    def forward(self, encoder: Encoder, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        state = _checked(state, pixels, self.state_dim, "StateToken")
        latents = self.frames(encoder, pixels)
        if latents.shape[-1] < self.state_dim:
            raise UserError(
                f"StateToken.state_dim: got {self.state_dim}; expected {latents.shape[-1]} or less, a latent's width"
            )
        token = F.pad(state.to(latents.dtype), (0, latents.shape[-1] - self.state_dim))
        return torch.cat([latents, token[:, :, None]], dim=2)

    def prepare(self, statistics: dict[str, Any]) -> None:
        self.frames.prepare(statistics)


def _checked(state: Tensor | None, pixels: Tensor, size: int, name: str) -> Tensor:
    """The state (B, T, P), if there is one of this size for each frame of the pixels (B, T, C, H, W)."""
    if state is None or state.shape[-1] != size:
        got = "none" if state is None else f"{state.shape[-1]} numbers a frame"
        raise UserError(f"{name}: got a state of {got}; expected {size} beside the pixels")
    if state.shape[:-1] != pixels.shape[:2]:
        given, frames = tuple(state.shape), tuple(pixels.shape[:2])
        raise UserError(f"{name}: got states {given} for frames {frames}; expected one for each, (B, T, {size})")
    return state
