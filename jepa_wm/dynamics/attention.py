"""Attention over the tokens of the last frames, cached frame by frame."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Cache(NamedTuple):
    """Keys and values of the frames before: (B, heads, frames * N, head_dim), keys already rotated."""

    keys: Tensor
    values: Tensor


class WindowAttention(nn.Module):
    """Self-attention in which a frame sees itself and the `window - 1` frames before it.

    Time enters by rotary positions, so that only distances count and a cache stays valid for ever.

    Args:
        width: width of the tokens.
        heads: attention heads.
        window: frames a frame sees, itself among them.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.width, self.heads, self.window = width, heads, window
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, frame: int, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Attend from new frames, tokens (B, T, N, W) that begin at number `frame`, to them and the cache."""
        time, count = tokens.shape[1:3]
        q, k, v = self.qkv(tokens.flatten(1, 2)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        when = torch.arange(frame, frame + time, device=tokens.device).repeat_interleave(count)
        q, k = _rotate(q, when), _rotate(k, when)
        past = 0
        if cache is not None:
            past = cache.keys.shape[2] // count
            k, v = torch.cat([cache.keys, k], dim=2), torch.cat([cache.values, v], dim=2)
        ages = when[:, None] - torch.arange(frame - past, frame + time, device=tokens.device).repeat_interleave(count)
        visible = None if time == 1 and past < self.window else (ages >= 0) & (ages < self.window)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        kept = (self.window - 1) * count
        new = Cache(k[:, :, k.shape[2] - kept :] if kept < k.shape[2] else k, v[:, :, max(v.shape[2] - kept, 0) :])
        return self.out(mixed.transpose(1, 2).flatten(2)).unflatten(1, (time, count)), new


def _rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary embedding of x (B, heads, L, d) at `positions` (L,)."""
    half = x.shape[-1] // 2
    frequencies = 100.0 ** -(torch.arange(half, device=x.device) / half)
    angles = positions[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
