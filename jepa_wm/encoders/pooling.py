"""One latent of an image or a clip from its tokens: kinds of pooling, and the modules that do it.

A kind says what is wanted without knowing the encoder's width, and builds the module once it is known.
"""

from functools import partial

import torch.nn.functional as F
from timm.layers import AttentionPoolLatent, GELUTanh
from torch import Tensor, nn

from jepa_wm.encoders.batch_norm import BatchNorm
from jepa_wm.encoders.blocks import initialise
from jepa_wm.encoders.positions import Grid
from jepa_wm.errors import UserError


class Pooling:
    """A kind of pooling: the mean of the patches."""

    def latent_dim(self, dim: int) -> int:
        """Width of the latent that is made of tokens of width `dim`."""
        return dim

    def build(self, dim: int, prefix: int) -> nn.Module:
        """The module from prefix tokens (B, R, D), patches (B, N, D) and their grid to latents (B, latent_dim)."""
        return _Mean()


class MeanPool(Pooling):
    """The mean of the patches."""


class ClassPool(Pooling):
    """The first prefix token, that of the class."""

    def build(self, dim: int, prefix: int) -> nn.Module:
        if not prefix:
            raise UserError("ClassPool: the encoder has no prefix tokens; give it prefix: 1, or use MeanPool")
        return _First()


class GridPool(Pooling):
    """A coarse grid of the patches, read by an MLP.

    Where images differ in a small object only, a mean hides it behind what all images share, and contrastive loss and
    SIGReg start on a plateau. Nothing is normalised at the end, which would hold each latent on a sphere and fight
    SIGReg; no BatchNorm (LeWM's choice), so training and evaluation compute the same function.

    Args:
        width: of the latent.
        cells: of the grid, in height and in width; frames are averaged.
    """

    def __init__(self, width: int = 64, cells: int = 4) -> None:
        self.width, self.cells = width, cells

    def latent_dim(self, dim: int) -> int:
        return self.width

    def build(self, dim: int, prefix: int) -> nn.Module:
        return _Cells(dim, self.width, self.cells)


class ProjectedPool(Pooling):
    """Another pooling's latent through an MLP with BatchNorm, which leaves it on no sphere for SIGReg to fight.

    Args:
        width: of the latent.
        hidden: width of the MLP.
        pooling: what is projected; the class token if none is given.

    Source: LeWM (arXiv 2603.19312), official code. Over several ranks its statistics are those of the whole batch.
    """

    def __init__(self, width: int = 192, hidden: int = 2048, pooling: Pooling | None = None) -> None:
        self.width, self.hidden, self.pooling = width, hidden, pooling or ClassPool()

    def latent_dim(self, dim: int) -> int:
        return self.width

    def build(self, dim: int, prefix: int) -> nn.Module:
        return _Projected(self.pooling.build(dim, prefix), self.pooling.latent_dim(dim), self.hidden, self.width)


class AttentionPool(Pooling):
    """A learned query that attends to all tokens, and an MLP on what it finds (SigLIP's "MAP" head).

    Args:
        heads: of the attention.
        mlp_ratio: hidden width of the MLP over the width of the tokens.
        eps: of the layer norm.

    Raises:
        UserError: by `build`, if the heads do not share out the width.

    Source: Zhai et al. 2022 (arXiv 2106.04560); the module is timm's.
    """

    def __init__(self, heads: int = 12, mlp_ratio: float = 4.0, eps: float = 1e-6) -> None:
        self.heads, self.mlp_ratio, self.eps = heads, mlp_ratio, eps

    def build(self, dim: int, prefix: int) -> nn.Module:
        if dim % self.heads:
            raise UserError(f"AttentionPool: got {self.heads} heads for tokens of {dim}; expected heads that divide it")
        return _Attentive(dim, self.heads, round(dim * self.mlp_ratio), self.eps)


class _Mean(nn.Module):
    def forward(self, prefix: Tensor, patches: Tensor, grid: Grid) -> Tensor:
        return patches.mean(dim=1)


class _First(nn.Module):
    def forward(self, prefix: Tensor, patches: Tensor, grid: Grid) -> Tensor:
        return prefix[:, 0]


class _Cells(nn.Module):
    def __init__(self, dim: int, width: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.squeeze = nn.Linear(dim, dim // 8)
        self.neck = nn.Sequential(nn.Linear(cells**2 * (dim // 8), 2 * dim), nn.GELU(), nn.Linear(2 * dim, width))

    def forward(self, prefix: Tensor, patches: Tensor, grid: Grid) -> Tensor:
        cells = self.squeeze(patches).transpose(1, 2).unflatten(2, grid).mean(dim=2)
        return self.neck(F.adaptive_avg_pool2d(cells, self.cells).flatten(1))


class _Projected(nn.Module):
    def __init__(self, pool: nn.Module, dim: int, hidden: int, width: int) -> None:
        super().__init__()
        self.pool = pool
        self.net = nn.Sequential(nn.Linear(dim, hidden), BatchNorm(hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, prefix: Tensor, patches: Tensor, grid: Grid) -> Tensor:
        return self.net(self.pool(prefix, patches, grid))


class _Attentive(AttentionPoolLatent):
    def __init__(self, dim: int, heads: int, hidden: int, eps: float) -> None:
        # timm rounds the hidden width down; half a channel more keeps it whole.
        ratio, norm = (hidden + 0.5) / dim, partial(nn.LayerNorm, eps=eps)
        super().__init__(dim, num_heads=heads, mlp_ratio=ratio, norm_layer=norm, act_layer=GELUTanh)  # type: ignore[arg-type]
        initialise(self)

    def forward(self, prefix: Tensor, patches: Tensor, grid: Grid) -> Tensor:  # type: ignore[override]
        return super().forward(patches)
