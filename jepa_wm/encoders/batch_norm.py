"""BatchNorm that is one over several ranks, on every device."""

import torch
from torch import Tensor, nn

from jepa_wm import distributed
from jepa_wm.precision import at_least_float32


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm over the rows of all ranks; torch's own synchronised one needs a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Rows (n, D), as many on all ranks -> (n, D)."""
        if not self.training or distributed.world_size() == 1:
            return super().forward(x)
        rows, wide = len(x) * distributed.world_size(), at_least_float32(x)
        mean = distributed.all_reduce_mean(wide.mean(dim=0))
        variance = distributed.all_reduce_mean((wide - mean).square().mean(dim=0))
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * rows / (rows - 1)).to(self.running_var.dtype), self.momentum)
        normed = (wide - mean) * (variance + self.eps).rsqrt()
        return (normed * self.weight + self.bias).to(x.dtype)
