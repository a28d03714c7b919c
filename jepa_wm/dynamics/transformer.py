"""A frame-causal transformer that predicts the next frame's latents under an action."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics.actions import ActionEncoder
from jepa_wm.dynamics.attention import Cache, WindowAttention


class TransformerState(NamedTuple):
    """Newest latent (B, N, D), its frame number, and each block's cache of the frames before."""

    latent: Tensor
    frame: int
    caches: tuple[Cache | None, ...]


class ConditionedBlock(nn.Module):
    """A transformer block whose norms are shifted, scaled and gated by the action (AdaLN-zero).

    Args:
        width: width of the tokens.
        heads: attention heads.
        window: frames a frame sees.

    Source: Peebles & Xie 2023 (arXiv 2212.09748); as a predictor: LeWM (arXiv 2603.19312).
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.width, self.heads, self.window = width, heads, window
        self.attention = WindowAttention(width, heads, window)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor, frame: int, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Tokens x (B, T, N, W) under condition (B, T, W)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, :, None].chunk(6, dim=-1)
        mixed, cache = self.attention(_modulate(x, shift1, scale1), frame, cache)
        x = x + gate1 * mixed
        return x + gate2 * self.mlp(_modulate(x, shift2, scale2)), cache


class TransformerDynamics(Dynamics):
    """Predict z[t+1] = z[t] + f(z[t-window+1 .. t], a[t-window+1 .. t]) with a KV cache over frames.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents.
        width: width of the blocks.
        depth: number of blocks.
        heads: attention heads of a block.
        window: frames a frame sees, itself among them; 1 is a Markov model.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        tokens: int = 1,
        action_dim: int = 2,
        frame_skip: int = 5,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        window: int = 2,
    ) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.action_dim, self.frame_skip = latent_dim, tokens, action_dim, frame_skip
        self.width, self.depth, self.heads, self.window = width, depth, heads, window
        self.actions = ActionEncoder(action_dim, frame_skip, width)
        self.enter = nn.Linear(latent_dim, width)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.ModuleList(ConditionedBlock(width, heads, window) for _ in range(depth))
        self.leave = nn.Linear(width, latent_dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def set_action_statistics(self, mean: list[float], std: list[float]) -> None:
        """Take in mean and standard deviation (A,) of the training actions."""
        self.actions.mean.copy_(torch.tensor(mean))
        self.actions.std.copy_(torch.tensor(std))

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Teacher forcing: latents (B, T, N, D) and the action after each (B, T, A) -> the next of each."""
        return self._advance(latents, actions, 0, (None,) * self.depth)[0]

    def start(self, latents: Tensor, actions: Tensor) -> TransformerState:
        """Read the context once: latents (B, T, N, D), actions between them (B, T-1, A)."""
        caches: tuple[Cache | None, ...] = (None,) * self.depth
        past = latents.shape[1] - 1
        if past:
            caches = self._advance(latents[:, :-1], actions, 0, caches)[1]
        return TransformerState(latents[:, -1], past, caches)

    def step(self, state: TransformerState, action: Tensor) -> TransformerState:
        """Advance by one latent under `action` (B, A)."""
        latent, caches = self._advance(state.latent[:, None], action[:, None], state.frame, state.caches)
        return TransformerState(latent[:, 0], state.frame + 1, caches)

    def latent(self, state: TransformerState) -> Tensor:
        """The state's newest latent (B, N, D)."""
        return state.latent

    def expand(self, state: TransformerState, candidates: int) -> TransformerState:
        """Repeat each state `candidates` times, adjacent."""
        caches = tuple(
            cache and Cache(*(part.repeat_interleave(candidates, dim=0) for part in cache)) for cache in state.caches
        )
        return TransformerState(state.latent.repeat_interleave(candidates, dim=0), state.frame, caches)

    def _advance(
        self, latents: Tensor, actions: Tensor, frame: int, caches: tuple[Cache | None, ...]
    ) -> tuple[Tensor, tuple[Cache | None, ...]]:
        condition = F.silu(self.actions(actions))
        x = self.enter(latents) + self.place
        new = []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block(x, condition, frame, cache)
            new.append(cache)
        return latents + self.leave(x), tuple(new)


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
