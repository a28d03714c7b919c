"""Fixed sine-cosine positions in time, height and width."""

import torch
from torch import Tensor


def sincos(positions: Tensor, dim: int) -> Tensor:
    """Sines and cosines of `positions` (N,) at dim / 2 geometric frequencies -> (N, dim)."""
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = positions.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def sincos_3d(grid: tuple[int, int, int], dim: int) -> Tensor:
    """Positions of a grid of (time, height, width) tokens, time slowest -> (T * H * W, dim).

    Each axis takes an equal even share of `dim`; what is left over stays zero. An image is a clip
    of one frame, so images and clips share positions (V-JEPA, arXiv 2404.08471, "uniform power").
    """
    share = dim // 6 * 2
    axes = torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij")
    parts = [sincos(axis.flatten(), share) for axis in axes]
    return torch.cat([*parts, torch.zeros(parts[0].shape[0], dim - 3 * share)], dim=1)
