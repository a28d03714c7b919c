"""Pictures of latents, to look at what a model imagines."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.contracts import Batch
from jepa_wm.dynamics.heads.head import Head, told
from jepa_wm.errors import UserError


class PixelHead(Head):
    """A small convolutional decoder from the tokens of a frame to a square picture, for inspection.

    The tokens are laid out as they lie in the frame, row by row, made a grid of 4 x 4 cells at least, and doubled in
    size until they are as large as the picture.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame, a square number.
        size: height and width of the picture; those to learn from are brought to it.
        width: channels.

    Raises:
        UserError: if `tokens` is no square number, or `size` is below the tokens' grid.
    """

    def __init__(self, latent_dim: int = 64, tokens: int = 1, size: int = 64, width: int = 64) -> None:
        super().__init__()
        side = math.isqrt(tokens)
        if side * side != tokens or size < side:
            raise UserError(
                f"PixelHead: got {tokens} tokens and size {size}; expected a square number of tokens, such as 1 or "
                "196, and a size that is not below its root"
            )
        self.latent_dim, self.tokens, self.size, self.width = latent_dim, tokens, size, width
        self.side, self.cells = side, max(4 // side, 1)
        self.enter = nn.Linear(latent_dim, width * self.cells**2)
        doublings = max(math.ceil(math.log2(size / (side * self.cells))), 0)
        self.stages = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(doublings))
        self.leave = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> pictures (..., 3, size, size), float32 between 0 and 1."""
        cells = self.enter(latents).reshape(-1, self.side, self.side, self.width, self.cells, self.cells)
        x = cells.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        for stage in self.stages:
            x = F.gelu(stage(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        if x.shape[-1] != self.size:
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        return self.leave(x).float().sigmoid().view(*latents.shape[:-2], 3, self.size, self.size)

    def error(self, latents: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of the pictures of latents (B, T, N, D), in parts of 255."""
        pixels = told(batch, "pixels", "PixelHead").flatten(0, 1).float() / 255.0
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, (self.size, self.size), mode="bilinear", antialias=True)
        return F.mse_loss(self(latents).flatten(0, 1), pixels)
