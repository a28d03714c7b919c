"""The narrow transformer that fills in what is masked."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.encoders.blocks import ALL, BlockOptions, Blocks, initialise
from jepa_wm.encoders.positions import Grid, Positions, SinCos, places
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32


class PredictorOptions:
    """The size of a predictor.

    Args:
        width: of its tokens.
        depth: its blocks.
        heads: their attention heads.
        positions: where tokens stand; None for the encoder's kind, or sine-cosine where the encoder learns a table.
        recompute: as `BlockOptions`.

    Raises:
        UserError: if the heads do not share out the width, or `positions` is a table to be learned.
    """

    def __init__(
        self,
        width: int = 384,
        depth: int = 12,
        heads: int = 12,
        positions: Positions | None = None,
        recompute: bool = False,
    ) -> None:
        if width % heads:
            raise UserError(f"PredictorOptions: got width {width} and {heads} heads; expected heads that divide width")
        if positions is not None and positions.initial(width) is not None:
            raise UserError(
                f"PredictorOptions.positions: got {type(positions).__name__}, a table to be learned; expected SinCos, "
                "Rope or CentredRope"
            )
        self.width, self.depth, self.heads, self.positions = width, depth, heads, positions
        self.recompute = recompute


class MaskPredictor(nn.Module):
    """A narrow transformer that fills mask tokens from the visible ones.

    Args:
        encoder: whose tokens it reads and predicts; with levels, it reads and predicts those, too.
        options: its size.
        context: also predict the visible tokens, by a head of their own.

    Source: I-JEPA (arXiv 2301.08243), V-JEPA 2 (arXiv 2506.09985); levels and context as V-JEPA 2.1 (arXiv
    2603.14482). One mask token serves all masks, as in effect in V-JEPA 2's official code.
    """

    def __init__(self, encoder: ViT, options: PredictorOptions, context: bool = False) -> None:
        super().__init__()
        self.options, self.modalities = options, encoder.modalities
        self.positions = options.positions or (encoder.positions if encoder.position_table is None else SinCos())
        dim, levels = encoder.dim, len(encoder.levels) + 1
        self.enter: nn.Module = nn.Linear(dim, options.width)
        if levels > 1:
            self.enter = nn.Sequential(nn.Linear(levels * dim, dim), nn.GELU(), nn.Linear(dim, options.width))
        self.mask_token = nn.Parameter(torch.randn(options.width) * 0.02)
        self.modality = nn.Parameter(torch.zeros(2, options.width)) if encoder.modalities else None
        std = encoder.block.init_std
        block = BlockOptions(eps=encoder.block.eps, recompute=options.recompute, init_std=std)
        self.blocks = Blocks(options.width, options.depth, options.heads, block)
        self.norm = nn.LayerNorm(options.width, eps=encoder.block.eps)
        self.leave = nn.Linear(options.width, levels * dim)
        self.leave_context = nn.Linear(options.width, levels * dim) if context else None
        for part in (self.enter, self.leave, self.leave_context):
            if part is not None:
                initialise(part, std)

    def forward(
        self, tokens: Tensor, keep: Tensor, predict: Tensor, grid: Grid, image: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Fill in groups of hidden tokens, each by itself.

        Args:
            tokens: visible tokens (B, K, L * D), L levels side by side.
            keep: their places (B, K).
            predict: places that are asked for (B, G, M).
            grid: tokens in time, height and width.
            image: whether they come from an image, where the encoder tells images from clips.

        Returns:
            Predictions (B, G, M, L * D), and those of the visible tokens (B, G, K, L * D) or None.
        """
        batch, groups, _ = predict.shape
        visible = self.enter(tokens)
        places_asked = torch.cat([keep[:, None].expand(-1, groups, -1), predict], dim=2).flatten(0, 1)
        hidden = self.mask_token.expand(batch * groups, predict.shape[2], -1)
        x = torch.cat([visible.repeat_interleave(groups, dim=0), hidden], dim=1)
        table, rotation = places(self.positions, grid, self.options.width, self.options.heads, x.device)
        if table is not None:
            x = x + table[places_asked].to(self.norm.weight.dtype)
        if self.modality is not None:
            x = x + self.modality[0 if image else 1]
        turn = None if rotation is None else rotation.take(places_asked)
        count = predict.shape[2]
        x = self.norm(self.blocks(x, turn, read=slice(-count, None) if self.leave_context is None else ALL)[-1])
        filled = self.leave(x[:, -count:]).unflatten(0, (batch, groups))
        if self.leave_context is None:
            return filled, None
        return filled, self.leave_context(x[:, :-count]).unflatten(0, (batch, groups))


def levels_of(encoder: ViT, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
    """Tokens of all levels of an encoder side by side (B, N or K, L * D)."""
    encoded = encoder.encode(pixels, keep)
    return torch.cat([*encoded.levels, encoded.patches], dim=-1) if encoded.levels else encoded.patches


def normalised(tokens: Tensor, dim: int) -> Tensor:
    """Each level of tokens (..., L * D) normalised without learned factors, in float32 at least."""
    levels = tokens.unflatten(-1, (-1, dim))
    levels = at_least_float32(levels)
    return F.layer_norm(levels, (dim,)).flatten(-2)


def at(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, N, D) at places (B, ..., M) -> (B, ..., M, D)."""
    flat = index.flatten(1)
    return tokens.gather(1, flat[..., None].expand(-1, -1, tokens.shape[-1])).unflatten(1, index.shape[1:])
