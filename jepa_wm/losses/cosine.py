"""An error that knows directions and no lengths."""

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.precision import at_least_float32


def cosine_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 minus the cosine of vectors (..., D): 0 if they agree, 1 at right angles, 2 if they are opposed."""
    with torch.autocast(predicted.device.type, enabled=False):
        return 1.0 - F.cosine_similarity(at_least_float32(predicted), target, dim=-1).mean()
