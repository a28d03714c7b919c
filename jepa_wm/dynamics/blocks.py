"""The block that action-conditioned predictors are stacks of."""

import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.dynamics.attention import Cache, WindowAttention
from jepa_wm.encoders.linear import Linear
from jepa_wm.encoders.positions import Rotation


class BlockShape:
    """What published predictors differ in beside width, depth and heads.

    Args:
        head_dim: channels of a head; None for the width shared out among the heads.
        hidden: width of the MLP; None for four times the width.
        dropout: of each branch's output and of what is within the MLP.
    """

    def __init__(self, head_dim: int | None = None, hidden: int | None = None, dropout: float = 0.0) -> None:
        self.head_dim, self.hidden, self.dropout = head_dim, hidden, dropout


class PredictorBlock(nn.Module):
    """A pre-norm transformer block over frames; with a condition, its norms are shifted, scaled and gated by it.

    Args:
        width: width W of the tokens.
        heads: attention heads.
        window: frames a frame sees.
        condition: width E of the condition (AdaLN-zero: the block does nothing at first); None for learned norms.
        shape: what published predictors differ in.

    Source: Peebles & Xie 2023 (arXiv 2212.09748).
    """

    def __init__(
        self, width: int, heads: int, window: int, condition: int | None = None, shape: BlockShape | None = None
    ) -> None:
        super().__init__()
        shape = shape or BlockShape()
        self.width, self.heads, self.window, self.condition, self.shape = width, heads, window, condition, shape
        self.attention = WindowAttention(width, heads, shape.head_dim or width // heads, window)
        hidden = shape.hidden or 4 * width
        self.rise, self.fall = Linear(width, hidden), Linear(hidden, width)
        self.dropout = nn.Dropout(shape.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=condition is None) for _ in range(2))
        self.modulation = None if condition is None else nn.Linear(condition, 6 * width)
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self, x: Tensor, condition: Tensor, rotation: Rotation | None = None, cache: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """Tokens x (B, T, N, W) of new frames under condition (B, T, E) -> the same, and the cache with them in it."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self._modulation(condition)
        time, count = x.shape[1:3]
        entering = (self.norms[0](x) * (1 + scale1) + shift1).flatten(1, 2)
        mixed, cache = self.attention(entering, count, rotation, cache)
        x = x + gate1 * self.dropout(mixed).unflatten(1, (time, count))
        risen = self.dropout(F.gelu(self.rise((self.norms[1](x) * (1 + scale2) + shift2).flatten(1, 2))))
        return x + gate2 * self.dropout(self.fall(risen)).unflatten(1, (time, count)), cache

    def _modulation(self, condition: Tensor) -> tuple[Tensor | float, ...]:
        """Shift, scale and gate of both branches, (B, T, 1, W) each."""
        if self.modulation is None:
            return 0.0, 0.0, 1.0, 0.0, 0.0, 1.0
        return self.modulation(F.silu(condition))[:, :, None].chunk(6, dim=-1)
