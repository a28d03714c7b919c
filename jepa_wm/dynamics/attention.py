"""Attention over the tokens of the last frames, with what was read before in a cache.

M new tokens, L cached ones that all S candidates of a context share, l cached ones of each candidate.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.dynamics.cache import Cache, Pair, split
from jepa_wm.encoders.linear import Linear
from jepa_wm.encoders.positions import Rotation

FEW = 4
"""Tokens up to which pairs of them are multiplied faster one by one on a CPU than by a kernel of attention."""

BLOCK = 2**20
"""Logits that are in memory at once: what is beyond is left for the next candidates, which is no slower on a CPU."""

LAUNCHED = 2**28
"""The same on other devices, 1 GiB in float32, where each turn has its kernels to launch; it was not measured there."""


class WindowAttention(nn.Module):
    """Self-attention in which a frame sees itself and the `window - 1` frames before it.

    Args:
        width: width of the tokens.
        heads: attention heads.
        head_dim: channels of a head.
        window: frames a frame sees, itself among them.
    """

    def __init__(self, width: int, heads: int, head_dim: int, window: int) -> None:
        super().__init__()
        self.width, self.heads, self.head_dim, self.window = width, heads, head_dim, window
        self.qkv = Linear(width, 3 * heads * head_dim)
        self.out = Linear(heads * head_dim, width)

    def forward(self, x: Tensor, count: int, rotation: Rotation | None, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Attend from tokens x (B, T * N, W) of T new frames, `count` a frame, to them and to the cache."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, self.head_dim))
        turned = qkv[:, :, :2] if rotation is None else rotation(qkv[:, :, :2])
        q, k, v = (part.transpose(1, 2) for part in (*turned.unbind(2), qkv[:, :, 2]))
        past = 0 if cache is None else cache.tokens // count
        visible = band(past, x.shape[1] // count, count, self.window, x.device)
        new = Pair(k.contiguous(), v.contiguous())  # Copies, for views would hold the queries' memory, too.
        cache = Cache(new) if cache is None else cache.with_new(new)
        if past:
            mixed = attend(q, cache, visible)
        elif x.shape[1] == 1:  # A token that sees itself alone, which is how many rollouts begin.
            mixed = v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return self.out(mixed.transpose(1, 2).flatten(2)), cache.last((self.window - 1) * count)


def attend(q: Tensor, cache: Cache, visible: Tensor | None) -> Tensor:
    """Attention of q (B * S, heads, M, d) to a cache, of which `visible` (M, L + l) may be seen.

    Candidates that `BLOCK` does not hold come by turns, so that what grows with them is their own tokens, and not the
    product of these with what they share; gradient, where there is any, keeps it for the way back.
    """
    if visible is None and alone(q) and cache.tokens <= FEW:
        return _one_by_one(q, cache)
    states = cache.shared.keys.shape[0]
    block = BLOCK if q.device.type == "cpu" else LAUNCHED
    samples = max(block // (states * q.shape[1] * q.shape[2] * cache.tokens), 1)
    if torch.compiler.is_exporting() or q.shape[0] <= states * samples:
        return _attended(q, cache, visible)
    own = zip(*(part.split(states, samples) for part in cache.own), strict=True)
    parts = [
        _attended(queries, Cache(cache.shared, tuple(pairs)), visible).unflatten(0, (states, -1))
        for queries, pairs in zip(split(q, states, samples), own, strict=True)
    ]
    return torch.cat(parts, dim=1).flatten(0, 1)


def _attended(q: Tensor, cache: Cache, visible: Tensor | None) -> Tensor:
    """`attend`, of all candidates at once: their queries for what they share are one matrix, which is never copied."""
    (far_k, far_v), (near_k, near_v) = cache.shared, map(_joined, zip(*cache.own, strict=True))
    samples = q.shape[0] // far_k.shape[0]
    q = q * q.shape[-1] ** -0.5
    far = _apart(_products(_together(q, samples), far_k), samples)
    logits = torch.cat([far, _products(q, near_k)], dim=-1)
    if visible is not None:
        logits = logits.masked_fill(~visible, -torch.inf)
    seen, own = logits.softmax(dim=-1).split([far_k.shape[2], near_k.shape[2]], dim=-1)
    return _apart(_mixture(_together(seen, samples), far_v), samples) + _mixture(own, near_v)


def _one_by_one(q: Tensor, cache: Cache) -> Tensor:
    """Attention of a query of each candidate, (B * S, heads, 1, d), to few tokens."""
    states = cache.shared.keys.shape[0]  # Not its `len`, which an export would take for a constant.
    q = (q * q.shape[-1] ** -0.5).unflatten(0, (states, -1))
    # Keys and values (B, S or 1, heads, tokens, d), frame by frame: what is shared meets the queries of all candidates.
    frames = [[x.unflatten(0, (states, -1)) for x in frame] for frame in (cache.shared, *cache.own) if frame.tokens]
    keys, values = ([x for frame in each for x in frame.split(1, dim=3)] for each in zip(*frames, strict=True))
    weights = torch.cat([(q * k).sum(dim=-1) for k in keys], dim=-1).softmax(dim=-1)[..., None, :].to(q.dtype)
    return _added(weights.split(1, dim=-1), values).flatten(0, 1)


def behind(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of the last M of L tokens, each to itself and those before: q (B, heads, M, d), k and v (…, L, d)."""
    past = k.shape[2] - q.shape[2]
    if q.device.type != "cpu" or k.shape[2] > FEW:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=band(past, q.shape[2], 1, k.shape[2], q.device))
    mixed = []
    for stop, query in enumerate((q * q.shape[-1] ** -0.5).split(1, dim=2), past + 1):
        weights = _products(query, k[:, :, :stop]).softmax(dim=-1)
        mixed.append(_mixture(weights.to(v.dtype), v[:, :, :stop]))
    return torch.cat(mixed, dim=2)


def _products(q: Tensor, k: Tensor) -> Tensor:
    """Queries (B, heads, M, d) with keys (B, heads, L, d): (B, heads, M, L)."""
    if alone(q):
        return (q * k).sum(dim=-1)[..., None, :]
    return q @ k.mT


def _mixture(weights: Tensor, v: Tensor) -> Tensor:
    """Weights (B, heads, M, L) of values (B, heads, L, d): (B, heads, M, d)."""
    if alone(weights) and v.shape[2]:
        return _added(weights.split(1, dim=-1), v.split(1, dim=2))
    return weights @ v


def _added(weights: Iterable[Tensor], values: Iterable[Tensor]) -> Tensor:
    """The sum of some values, each times its weight."""
    (weight, value), *rest = zip(weights, values, strict=True)
    mixed = weight * value
    for weight, value in rest:
        mixed = torch.addcmul(mixed, weight, value)
    return mixed


def _joined(parts: tuple[Tensor, ...]) -> Tensor:
    """Keys or values (B, heads, tokens, d) of several frames in one piece."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def alone(x: Tensor) -> bool:
    """Whether thousands of rows of one query each are better multiplied than given to a CPU's matrix products."""
    return x.shape[2] == 1 and x.device.type == "cpu"


def band(past: int, time: int, count: int, window: int, device: torch.device) -> Tensor | None:
    """Which of `past + time` frames each of the last `time` sees, token by token; None where it is all of them."""
    if time == 1 and past < window:
        return None
    ages = torch.arange(past, past + time, device=device)[:, None] - torch.arange(past + time, device=device)
    seen = (ages >= 0) & (ages < window)
    return seen.repeat_interleave(count, dim=0).repeat_interleave(count, dim=1)


def _together(x: Tensor, samples: int) -> Tensor:
    """(B * S, heads, M, c) -> (B, heads, S * M, c)."""
    return x.unflatten(0, (-1, samples)).transpose(1, 2).flatten(2, 3)


def _apart(x: Tensor, samples: int) -> Tensor:
    """(B, heads, S * M, c) -> (B * S, heads, M, c)."""
    return x.unflatten(2, (samples, -1)).transpose(1, 2).flatten(0, 1)
