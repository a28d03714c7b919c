"""The block that the predictors of DINO-WM and LeWM have from the same code: its channels are not the heads' sum."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.dynamics.attention import behind
from jepa_wm.encoders.linear import GELULinear, Linear


class PlainBlock(nn.Module):
    """A pre-norm transformer block over a window that is read as a whole.

    Args:
        width: of the tokens.
        heads: attention heads.
        head_dim: channels of a head.
        hidden: width of the MLP.
        dropout: of attention's weights, of each branch's output and of what is within the MLP.

    Source: DINO-WM and LeWM, official codes, after lucidrains' vit-pytorch.
    """

    def __init__(self, width: int, heads: int, head_dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.width, self.heads, self.head_dim, self.hidden, self.dropout = width, heads, head_dim, hidden, dropout
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = Linear(width, 3 * heads * head_dim, bias=False), Linear(heads * head_dim, width)
        self.rise, self.fall = GELULinear(width, hidden), Linear(hidden, width)

    def attended(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What attention adds to tokens (B, M, W): each sees what its row of the mask (M, M) says, or those before."""
        q, k, v = self._heads(x)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None)
        return self._dropped(self.out(seen.transpose(1, 2).flatten(2)))

    def recalled(self, x: Tensor, past: Tensor | None, newest: bool) -> tuple[Tensor, Tensor]:
        """What attention adds to tokens (B, M, W) behind those in the past, or to the last alone; and the new past.

        Each sees those before it. The past is keys and values (2, B, heads, m, d).
        """
        heads = self._heads(x)
        q, past = heads[0], heads[1:] if past is None else torch.cat([past, heads[1:]], dim=3)
        # A token that sees itself alone is given its own value: so rollouts begin.
        seen = past[1] if past.shape[3] == 1 else behind(q[:, :, -1:] if newest else q, *past)
        return self._dropped(self.out(seen.transpose(1, 2).flatten(2))), past

    def _heads(self, x: Tensor) -> Tensor:
        """Queries, keys and values (3, B, heads, M, d) of tokens (B, M, W)."""
        return self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, self.head_dim)).permute(2, 0, 3, 1, 4)

    def mixed(self, x: Tensor) -> Tensor:
        """What the MLP adds to tokens (B, M, W)."""
        return self._dropped(self.fall(self._dropped(self.rise(self.mlp_norm(x)))))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, M, W) under a mask (M, M), true where a row may look."""
        x = x + self.attended(x, mask)
        return x + self.mixed(x)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
