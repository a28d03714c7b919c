"""An error that knows directions and no lengths."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 minus the cosine of vectors (..., D): 0 if they agree, 1 at right angles, 2 if they are opposed."""
    with torch.autocast(predicted.device.type, enabled=False):
        half = predicted.dtype in (torch.bfloat16, torch.float16)
        return 1.0 - F.cosine_similarity(predicted.float() if half else predicted, target, dim=-1).mean()
