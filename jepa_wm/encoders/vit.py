"""One vision transformer for images and clips."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from jepa_wm.contracts import Encoder
from jepa_wm.encoders.positions import sincos_3d
from jepa_wm.errors import UserError

# Grey level and spread of natural images, in units of full white; one number for all channels.
MEAN, STD = 0.45, 0.225


class ViT(nn.Module):
    """A pre-norm vision transformer over tubelets, with a neck that makes one latent of its tokens.

    An image goes through the same weights as a clip: as one tubelet that repeats it. `keep` drops
    tokens before they are embedded, so masked pretraining pays for visible tokens alone.

    Args:
        patch: side of a patch in pixels.
        tubelet: frames a token spans.
        dim: width D of the tokens.
        depth: number of blocks.
        heads: attention heads of a block.
        mlp_ratio: hidden width of a block's MLP over `dim`.
        latent_dim: width of the pooled latent.
        pool_grid: cells a side of the coarse grid that the neck reads the tokens on.

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929), blocks by timm; sine-cosine positions in
    time, height and width as V-JEPA (arXiv 2404.08471). The neck keeps a coarse grid instead of one
    mean: where images differ in a small object only, a mean hides it behind what all images share,
    and training starts on a plateau. It has no normalisation at its end, which would hold each
    latent on a sphere and fight SIGReg; and no BatchNorm (LeWM's choice), so training and
    evaluation compute the same function.
    """

    def __init__(
        self,
        patch: int = 16,
        tubelet: int = 1,
        dim: int = 192,
        depth: int = 4,
        heads: int = 3,
        mlp_ratio: float = 4.0,
        latent_dim: int = 64,
        pool_grid: int = 4,
    ) -> None:
        super().__init__()
        self.patch, self.tubelet, self.dim, self.depth = patch, tubelet, dim, depth
        self.heads, self.mlp_ratio, self.latent_dim, self.pool_grid = heads, mlp_ratio, latent_dim, pool_grid
        self.embed = nn.Linear(3 * tubelet * patch * patch, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio, qkv_bias=True) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.squeeze = nn.Linear(dim, dim // 8)
        self.neck = nn.Sequential(
            nn.Linear(pool_grid**2 * (dim // 8), 2 * dim), nn.GELU(), nn.Linear(2 * dim, latent_dim)
        )

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Tokens in time, height and width of a clip of `frames` frames of `height` x `width` pixels."""
        return max(frames // self.tubelet, 1), height // self.patch, width // self.patch

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode pixels, uint8 (B, T, C, H, W) or (B, C, H, W), to tokens (B, N or K, D).

        Args:
            pixels: images or clips.
            keep: indices (B, K) of the tokens to encode, in the order time, height, width.

        Raises:
            UserError: if the pixels' type or size does not fit the patches.
        """
        clips = pixels[:, None].expand(-1, self.tubelet, -1, -1, -1) if pixels.ndim == 4 else pixels
        grid = self.grid(clips.shape[1], *clips.shape[-2:])
        patches = self._patchify(clips)
        positions = _positions(grid, self.dim).to(pixels.device)
        if keep is not None:
            patches = patches.gather(1, keep[..., None].expand(-1, -1, patches.shape[-1]))
            positions = positions[keep]
        pixels = (patches.to(self.embed.weight.dtype) / 255.0 - MEAN) / STD
        tokens = self.embed(pixels) + positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens of square images (B, N, D) -> one latent each (B, latent_dim).

        Raises:
            UserError: if N is no square number.
        """
        side = math.isqrt(tokens.shape[1])
        if side * side != tokens.shape[1]:
            raise UserError(f"ViT.pool: got {tokens.shape[1]} tokens; expected those of one square image")
        cells = self.squeeze(tokens).transpose(1, 2).unflatten(2, (side, side))
        return self.neck(F.adaptive_avg_pool2d(cells, self.pool_grid).flatten(1))

    def _patchify(self, clips: Tensor) -> Tensor:
        """Clips (B, T, C, H, W) -> patches (B, N, tubelet * patch * patch * C), a view made flat."""
        batch, frames, channels, height, width = clips.shape
        p, t = self.patch, self.tubelet
        if clips.dtype != torch.uint8 or height % p or width % p or frames % t or channels != 3:
            raise UserError(
                f"ViT: got pixels {clips.dtype} {tuple(clips.shape)}; expected uint8 (B, T, 3, H, W) with H and W "
                f"multiples of the patch {p} and T of the tubelet {t}"
            )
        blocks = clips.reshape(batch, frames // t, t, channels, height // p, p, width // p, p)
        return blocks.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(batch, -1, t * p * p * channels)


def encode_frames(encoder: Encoder, pixels: Tensor) -> Tensor:
    """Encode each frame on its own: pixels (B, T, C, H, W) -> latents (B, T, 1, latent_dim)."""
    latents = encoder.pool(encoder(pixels.flatten(0, 1)))
    return latents.unflatten(0, pixels.shape[:2]).unsqueeze(2)


@lru_cache(maxsize=16)
def _positions(grid: tuple[int, int, int], dim: int) -> Tensor:
    return sincos_3d(grid, dim)
