"""Vision transformers by the names of their published sizes."""

from typing import NamedTuple

from jepa_wm.encoders.blocks import BlockOptions
from jepa_wm.encoders.pooling import Pooling
from jepa_wm.encoders.positions import Positions
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError


class Size(NamedTuple):
    """Width D, blocks, attention heads, and hidden width of an MLP over D."""

    dim: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0


SIZES = {
    "tiny": Size(192, 12, 3),
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
    "large": Size(1024, 24, 16),
    "huge": Size(1280, 32, 16),
    "giant": Size(1408, 40, 22, 48 / 11),
}
"""Tiny: DeiT (arXiv 2012.12877); to large: ViT; huge and giant: I-JEPA, V-JEPA 2 (I-JEPA's giant has 16 heads)."""


def vit(
    size: str = "small",
    patch: int = 16,
    tubelet: int = 1,
    positions: Positions | None = None,
    prefix: int = 0,
    pooling: Pooling | None = None,
    preprocessing: Preprocessing | None = None,
    drop_path: float = 0.0,
    recompute: bool = False,
) -> ViT:
    """A `ViT` of a published size.

    Args:
        size: tiny, small, base, large, huge or giant.
        patch, tubelet, positions, prefix, pooling, preprocessing: as `ViT`.
        drop_path, recompute: as `BlockOptions`.

    Raises:
        UserError: if there is no such size.
    """
    if size not in SIZES:
        raise UserError(f"vit.size: got '{size}'; expected one of {', '.join(SIZES)}")
    dim, depth, heads, mlp_ratio = SIZES[size]
    block = BlockOptions(mlp_ratio=mlp_ratio, drop_path=drop_path, recompute=recompute)
    return ViT(patch, tubelet, dim, depth, heads, block, positions, prefix, pooling, preprocessing)
