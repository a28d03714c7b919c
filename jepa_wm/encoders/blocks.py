"""The transformer block that encoders and mask predictors are stacks of."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import DropPath, GELUTanh, LayerScale, QuickGELU
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jepa_wm.encoders.linear import Linear
from jepa_wm.encoders.positions import Rotation
from jepa_wm.errors import UserError

ACTIVATIONS = {"gelu": nn.GELU, "gelu_tanh": GELUTanh, "quick_gelu": QuickGELU}
MLPS = (*ACTIVATIONS, "swiglu")
ALL = slice(None)


class BlockOptions:
    """What blocks of the published vision transformers differ in.

    Args:
        mlp: "gelu", "gelu_tanh" (SigLIP), "quick_gelu" (OpenAI's CLIP) or "swiglu" (DINOv2 giant, DINOv3 plus).
        mlp_ratio: hidden width of the MLP over the width of the tokens.
        qk_norm: normalise queries and keys.
        layer_scale: factor on each branch at first, learned from there; None for none.
        drop_path: probability that a sample skips a branch in the last block; in those before it rises to that.
        eps: of the layer norms.
        recompute: forget activations in the forward pass and compute them again in the backward pass.
        init_std: of linear layers' weights at first, as published; None lets their widths say (Xavier), which comes to
            the same at widths of a thousand, and to several times as much in the narrow ones of small models, that
            learn far sooner for it (docs/results.md).

    Raises:
        UserError: if `mlp` is none of these, or `drop_path` is no probability below 1.
    """

    def __init__(
        self,
        mlp: str = "gelu",
        mlp_ratio: float = 4.0,
        qk_norm: bool = False,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        eps: float = 1e-6,
        recompute: bool = False,
        init_std: float | None = 0.02,
    ) -> None:
        if mlp not in MLPS:
            raise UserError(f"BlockOptions.mlp: got '{mlp}'; expected one of {', '.join(MLPS)}")
        if not 0.0 <= drop_path < 1.0:
            raise UserError(f"BlockOptions.drop_path: got {drop_path}; expected 0 or more, and less than 1")
        self.mlp, self.mlp_ratio, self.qk_norm, self.layer_scale = mlp, mlp_ratio, qk_norm, layer_scale
        self.drop_path, self.eps, self.recompute, self.init_std = drop_path, eps, recompute, init_std


class Attention(nn.Module):
    """Self-attention of all tokens to all, queries and keys turned by their positions."""

    def __init__(self, dim: int, heads: int, options: BlockOptions) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(dim // heads, eps=options.eps) if options.qk_norm else None
        self.k_norm = nn.LayerNorm(dim // heads, eps=options.eps) if options.qk_norm else None
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor, rotation: Rotation | None = None, read: slice = ALL) -> Tensor:
        """Tokens (B, N, D) -> those of them that are read (B, M, D)."""
        queries_keys, values = self.qkv(x).unflatten(-1, (3, self.heads, -1)).split((2, 1), dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = queries_keys.unbind(2)
            queries_keys = torch.stack([self.q_norm(q), self.k_norm(k)], dim=2).to(values.dtype)
        if rotation is not None:
            queries_keys = rotation(queries_keys)
        q, k = queries_keys.unbind(2)
        mixed = attend(q[:, read].transpose(1, 2), k.transpose(1, 2), values.squeeze(2).transpose(1, 2))
        return self.proj(mixed.transpose(1, 2).flatten(2))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of queries (B, heads, M, d) to keys and values (B, heads, N, d) -> (B, heads, M, d)."""
    if not (q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad):
        return F.scaled_dot_product_attention(q, k, v)
    # torch's fused attention in bfloat16 and back takes up to twice as long as plain products there (measured).
    if k.shape[2] <= 16 * k.shape[3]:
        return _products(q, k, v)
    # Here the M x N weights outweigh all else that a block keeps: one sample at a time, and again when backward.
    samples = zip(q.split(1), k.split(1), v.split(1), strict=True)
    again = partial(checkpoint, _products, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(*sample) for sample in samples])


def _products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    heads, scale = q.shape[:2], q.shape[-1] ** -0.5
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    logits = torch.baddbmm(q.new_zeros(1, 1, 1), q, k.mT, beta=0, alpha=scale)
    return (logits.softmax(dim=-1) @ v).unflatten(0, heads)


class Mlp(nn.Module):
    """Two linear layers and what is between them."""

    def __init__(self, dim: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.act = activation
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) -> (B, N, D)."""
        return self.fc2(self.act(self.fc1(x)))


class SwiGLU(nn.Module):
    """A gated MLP (Shazeer 2020, arXiv 2002.05202); names as in timm."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1_g = Linear(dim, hidden)
        self.fc1_x = Linear(dim, hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) -> (B, N, D)."""
        return self.fc2(F.silu(self.fc1_g(x)) * self.fc1_x(x))


class Block(nn.Module):
    """A pre-norm block: attention, then an MLP, each added to what went in.

    Args:
        dim: width D of the tokens.
        heads: attention heads.
        options: what published blocks differ in.
        depth: how deep the block stands, from 0 for the first to 1 for the last; scales `drop_path`.

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929); layer scale and drop path by timm. Own attention, for
    timm's has no positions that differ between samples, and rotates queries and keys one after the other; own MLPs,
    for timm's build their linear layers themselves.
    """

    def __init__(self, dim: int, heads: int, options: BlockOptions | None = None, depth: float = 1.0) -> None:
        super().__init__()
        options = options or BlockOptions()
        self.dim, self.heads, self.options, self.depth = dim, heads, options, depth
        self.norm1 = nn.LayerNorm(dim, eps=options.eps)
        self.attn = Attention(dim, heads, options)
        self.norm2 = nn.LayerNorm(dim, eps=options.eps)
        hidden = round(dim * options.mlp_ratio)
        self.mlp = SwiGLU(dim, hidden) if options.mlp == "swiglu" else Mlp(dim, hidden, ACTIVATIONS[options.mlp]())
        scale = options.layer_scale
        self.ls1 = nn.Identity() if scale is None else LayerScale(dim, scale)
        self.ls2 = nn.Identity() if scale is None else LayerScale(dim, scale)
        self.drop_path = DropPath(options.drop_path * depth) if options.drop_path else nn.Identity()

    def forward(self, x: Tensor, rotation: Rotation | None = None, read: slice = ALL) -> Tensor:
        """Tokens (B, N, D) -> those of them that are read (B, M, D)."""
        x = x[:, read] + self.drop_path(self.ls1(self.attn(self.norm1(x), rotation, read)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class Blocks(nn.ModuleList):
    """A stack of blocks.

    Args:
        dim: width D of the tokens.
        depth: number of blocks.
        heads: attention heads of each.
        options: what published blocks differ in.
    """

    def __init__(self, dim: int, depth: int, heads: int, options: BlockOptions) -> None:
        super().__init__(Block(dim, heads, options, i / max(depth - 1, 1)) for i in range(depth))
        self.recompute, self.init_std = options.recompute, options.init_std
        self.reset_parameters()

    def forward(
        self, x: Tensor, rotation: Rotation | None = None, levels: tuple[int, ...] = (), read: slice = ALL
    ) -> list[Tensor]:
        """Mix tokens.

        Args:
            x: tokens (B, N, D).
            rotation: by which queries and keys are turned.
            levels: numbers of blocks whose output is asked for, too.
            read: the tokens that the last block is asked for; for others it does no more than it must.

        Returns:
            The tokens after each block of `levels`, in their order, and those that are read after the last (B, M, D).
        """
        found = {}
        for number, block in enumerate(self):
            asked = read if number == len(self) - 1 else ALL
            if self.recompute and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, rotation, asked, use_reentrant=False)
            else:
                x = block(x, rotation, asked)
            found[number] = x
        return [*(found[number] for number in levels), x]

    def reset_parameters(self) -> None:
        """As `initialise` draws them, and what ends a branch divided by sqrt(2 * its depth from 1).

        Source: V-JEPA 2 (official code); I-JEPA's and V-JEPA's divide, too, and then draw all anew without.
        """
        initialise(self, self.init_std)
        with torch.no_grad():
            for number, block in enumerate(self, start=1):
                assert isinstance(block, Block)
                block.attn.proj.weight.div_(math.sqrt(2 * number))
                block.mlp.fc2.weight.div_(math.sqrt(2 * number))


def initialise(module: nn.Module, std: float | None = 0.02) -> None:
    """Draw the weights of a module's linear layers; biases are 0.

    Args:
        module: whose layers.
        std: of a truncated normal; None for Xavier's uniform distribution.

    Source: .02 as I-JEPA and V-JEPA; Glorot & Bengio 2010 as MAE (arXiv 2111.06377), official code.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            if std is None:
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.trunc_normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
