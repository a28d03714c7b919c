"""Convolutions beside the patch embedding of a vision transformer."""

from torch import Tensor, nn

from jepa_wm.encoders.blocks import initialise
from jepa_wm.encoders.positions import Grid
from jepa_wm.errors import UserError


class ConvStem:
    """Convolutions over the picture, each of which halves its sides; what they find is added to the embedded patches.

    Where an edge is and how it is turned is no linear function of a patch's pixels, and a small transformer is slow to
    learn one (docs/results.md). Patches that are dropped are blank to the convolutions, so that a masked one stays
    hidden; where tokens are masked after they are embedded (`SelfDistillation`), those beside them have seen its rim.

    Args:
        width: channels of the first convolution; the next has twice as many.

    Raises:
        UserError: if the side of a patch is not 2, 4, 8 or another power of two.

    Source: Xiao et al. 2021 (arXiv 2106.14881), where convolutions replace the embedding, and have batch norm.
    """

    def __init__(self, width: int = 32) -> None:
        self.width = width

    def build(self, channels: int, patch: int, dim: int) -> nn.Module:
        """The module for patches of so many channels and pixels a side, and tokens of width `dim`."""
        if patch < 2 or patch & (patch - 1):
            raise UserError(f"ConvStem: got patches of {patch} pixels; expected 2, 4, 8 or another power of two")
        return _Convolutions(channels, patch, dim, self.width)


class _Convolutions(nn.Module):
    def __init__(self, channels: int, patch: int, dim: int, width: int) -> None:
        super().__init__()
        self.channels, self.patch = channels, patch
        layers: list[nn.Module] = []
        for _ in range(patch.bit_length() - 1):
            layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.GroupNorm(1, width), nn.GELU()]
            channels, width = width, 2 * width
        self.layers, self.leave = nn.Sequential(*layers), nn.Linear(channels, dim)
        initialise(self.leave, std=None)

    def forward(self, patches: Tensor, grid: Grid, keep: Tensor | None) -> Tensor:
        """Patches (B, N or K, C * patch * patch) of a grid, of which `keep` (B, K) are there -> as many tokens."""
        (time, height, width), p = grid, self.patch
        if keep is not None:
            blank = patches.new_zeros(len(patches), time * height * width, patches.shape[-1])
            patches = blank.scatter(1, keep[..., None].expand_as(patches), patches)
        parts = patches.reshape(-1, height, width, self.channels, p, p).permute(0, 3, 1, 4, 2, 5)
        found = self.layers(parts.reshape(-1, self.channels, height * p, width * p))
        tokens = self.leave(found.flatten(2).mT).reshape(len(patches), time * height * width, -1)
        return tokens if keep is None else tokens.gather(1, keep[..., None].expand(-1, -1, tokens.shape[-1]))
