"""What models of other libraries need to stand behind the contract of an encoder.

They keep their own code and their own names of weights. Clips are encoded frame by frame.
"""

from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Encoder
from jepa_wm.encoders.positions import Grid
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.errors import UserError


class Keep(nn.Module):
    """Stands where timm and open_clip drop patches at random, and keeps those that are named.

    Args:
        prefix: tokens before the patches, always kept.
        tells: whether the indices are part of what comes out, as of timm's models that rotate by position.
    """

    def __init__(self, prefix: int, tells: bool = False) -> None:
        super().__init__()
        self.prefix, self.tells = prefix, tells
        self.keep: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        """Tokens (B, R + N, D) -> (B, R + K, D), with `keep` (B, K) or None where it is told."""
        keep = self.keep
        if keep is not None:
            patches = x[:, self.prefix :].gather(1, keep[..., None].expand(-1, -1, x.shape[-1]))
            x = torch.cat([x[:, : self.prefix], patches], dim=1)
        return (x, keep) if self.tells else x


class Adapter(Encoder):
    """What timm's and open_clip's models have in common once they are behind the contract.

    Attributes:
        dim, latent_dim, patch, preprocessing: as of any encoder.
        prefix: tokens before the patches, that of the class first.
        source: where the weights come from.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, latent_dim: int, patch: int, preprocessing: Preprocessing, keep: Keep) -> None:
        super().__init__()
        self.dim, self.latent_dim, self.patch, self.preprocessing = dim, latent_dim, patch, preprocessing
        self.source = f"{type(self).__name__}: random weights"
        self.prefix = keep.prefix
        self._keep = keep
        self.register_buffer("mean", torch.tensor(preprocessing.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std)[:, None, None], persistent=False)

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, C, H, W) -> patches (B, N or K, D), and what `latents` reads."""
        raise NotImplementedError

    def latents(self, features: Tensor) -> Tensor:
        """What `tokens` gave -> latents (B, latent_dim)."""
        raise NotImplementedError

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode pixels, uint8 (B, T, C, H, W) or (B, C, H, W), to tokens (B, N or K, D), frame after frame.

        Raises:
            UserError: if the pixels do not fit the patches, or `keep` is asked for of a clip.
        """
        if keep is not None and pixels.ndim == 5 and pixels.shape[1] > 1:
            raise UserError(f"{type(self).__name__} encodes frames one by one: 'keep' is for images, got a clip")
        self._keep.keep = keep
        try:
            patches = self.tokens(self._images(pixels))[0]
        finally:
            self._keep.keep = None
        return patches.reshape(len(pixels), -1, patches.shape[-1])

    def pooled(self, pixels: Tensor) -> Tensor:
        """Pixels, images or clips, -> one latent each (B, latent_dim); of a clip the mean over its frames."""
        latents = self.latents(self.tokens(self._images(pixels))[1])
        return latents.unflatten(0, (len(pixels), -1)).mean(dim=1)

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Tokens in time, height and width of a clip of `frames` frames of `height` x `width` pixels."""
        return max(frames, 1), height // self.patch, width // self.patch

    def _images(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 -> normalised images (B or B * T, C, H, W)."""
        if pixels.dtype != torch.uint8 or pixels.shape[-3] != 3 or any(side % self.patch for side in pixels.shape[-2:]):
            raise UserError(
                f"{type(self).__name__}: got pixels {pixels.dtype} {tuple(pixels.shape)}; expected uint8 "
                f"(B, T, 3, H, W) with H and W multiples of the patch {self.patch}"
            )
        images = pixels.flatten(0, 1) if pixels.ndim == 5 else pixels
        return (images.to(next(self.parameters()).dtype).div(255.0) - self.mean) / self.std
