"""The block that action-conditioned predictors are stacks of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.dynamics.attention import WindowAttention
from jepa_wm.dynamics.cache import Cache
from jepa_wm.encoders.linear import GELULinear, Linear
from jepa_wm.encoders.positions import Rotation
from jepa_wm.errors import UserError


class Trunk:
    """The size of a predictor's transformer.

    Args:
        width: width W of its tokens.
        depth: its blocks.
        heads: attention heads of a block.
        head_dim: channels of a head; None for the width shared out among the heads.
        hidden: width of the MLPs; None for four times the width.
        dropout: of each branch's output and of what is within the MLPs.
        eps: of the norms.

    Raises:
        UserError: if the heads do not share out the width.
    """

    def __init__(
        self,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        head_dim: int | None = None,
        hidden: int | None = None,
        dropout: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        if head_dim is None and width % heads:
            raise UserError(
                f"Trunk: got width {width} and heads {heads}; expected a width that the heads share out, or a head_dim"
            )
        self.width, self.depth, self.heads = width, depth, heads
        self.head_dim, self.hidden, self.dropout = head_dim or width // heads, hidden or 4 * width, dropout
        self.eps = eps


class PredictorBlock(nn.Module):
    """A pre-norm transformer block over frames; with a condition, its norms are shifted, scaled and gated by it.

    Args:
        trunk: what it is a block of.
        window: frames a frame sees.
        condition: width E of the condition (AdaLN-zero: the block does nothing at first); None for learned norms.

    Source: Peebles & Xie 2023 (arXiv 2212.09748).
    """

    def __init__(self, trunk: Trunk, window: int, condition: int | None = None) -> None:
        super().__init__()
        self.trunk, self.window, self.condition = trunk, window, condition
        width = trunk.width
        self.attention = WindowAttention(width, trunk.heads, trunk.head_dim, window)
        self.rise, self.fall = GELULinear(width, trunk.hidden), Linear(trunk.hidden, width)
        self.dropout = nn.Dropout(trunk.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width, trunk.eps, condition is None) for _ in range(2))
        self.modulation = None if condition is None else Linear(condition, 6 * width)
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self, x: Tensor, condition: Tensor, rotation: Rotation | None = None, cache: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """Tokens x (B, T, N, W) of new frames under condition (B, T, E) -> the same, and the cache with them in it."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self._modulation(condition)
        time, count = x.shape[1:3]
        entering = shifted(self.norms[0](x), shift1, scale1).flatten(1, 2)
        mixed, cache = self.attention(entering, count, rotation, cache)
        x = torch.addcmul(x, gate1, self.dropout(mixed).unflatten(1, (time, count)))
        risen = self.dropout(self.rise(shifted(self.norms[1](x), shift2, scale2).flatten(1, 2)))
        return torch.addcmul(x, gate2, self.dropout(self.fall(risen)).unflatten(1, (time, count))), cache

    def _modulation(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate of both branches, (B, T, 1, W) or () each."""
        if self.modulation is None:
            return condition.new_tensor([0.0, 0.0, 1.0, 0.0, 0.0, 1.0]).unbind()
        return self.modulation(F.silu(condition))[:, :, None].chunk(6, dim=-1)


def shifted(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """A norm's output x, scaled and shifted by a condition: x * (1 + scale) + shift, as precise as the shift is.

    Under autocast norms give float32; the product behind this would bring that to bfloat16 in any case.
    """
    return torch.addcmul(shift, x.to(shift.dtype), 1 + scale)
