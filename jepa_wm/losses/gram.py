"""Gram anchoring: keep the similarities of patches as they once were."""

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.precision import at_least_float32


def gram(tokens: Tensor, anchor: Tensor, negative: bool = True) -> Tensor:
    """Mean squared difference of the cosines among the patches of each image.

    Args:
        tokens: patches (B, N, D), with gradient.
        anchor: patches (B, N, D') of the encoder that is to be stayed close to.
        negative: compare negative cosines too; otherwise both count as 0 there.

    Source: DINOv3 (arXiv 2508.10104), official code.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        return F.mse_loss(_cosines(tokens, negative), _cosines(anchor, negative))


def _cosines(patches: Tensor, negative: bool) -> Tensor:
    patches = at_least_float32(patches)
    unit = F.normalize(patches, dim=-1)
    cosine = unit @ unit.mT
    return cosine if negative else cosine.clamp(min=0.0)
