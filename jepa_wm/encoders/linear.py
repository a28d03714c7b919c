"""The linear layer of transformer blocks, by the faster of PyTorch's two ways on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ONEDNN = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
"""Whether this PyTorch has both libraries that this is about: it is built for x86."""
MANY = 3000
"""Tokens from which the convolution is ahead in bfloat16 (measured with 192 to 768 channels)."""


class Linear(nn.Linear):
    """A linear layer, done as the 1 x 1 convolution that it is where that is faster on an x86 CPU.

    There PyTorch gives convolutions to oneDNN and float32 products to MKL, which on AMD's processors reaches half of
    oneDNN's rate; in bfloat16 both go to oneDNN, and the convolution is ahead from some thousand tokens.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, in_features) -> (B, N, out_features)."""
        if not (ONEDNN and x.device.type == "cpu" and x.ndim == 3 and self.weight.dtype == torch.float32):
            return F.linear(x, self.weight, self.bias)
        if torch.is_autocast_enabled("cpu") and len(x) * x.shape[1] < MANY:
            return F.linear(x, self.weight, self.bias)
        # Many samples of few tokens, as in a rollout, make one long row.
        row = x.flatten(0, 1)[None] if len(x) > x.shape[1] else x
        image = F.conv2d(row.transpose(1, 2).unsqueeze(2), self.weight[:, :, None, None], self.bias)
        return image.squeeze(2).transpose(1, 2).reshape(*x.shape[:2], -1)
