"""The linear layer of transformer blocks, by the fastest of PyTorch's ways on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.processor import processor

ONEDNN = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
"""Whether this PyTorch has both libraries that this is about: it is built for x86."""
CONVOLVES = ONEDNN and "Intel" not in processor()
"""Whether convolutions may be faster than products: on Intel's processors MKL takes less time (1.05 to 1.3 times)."""
MANY = 3000
"""Tokens from which the convolution is ahead in bfloat16 (measured with 192 to 768 channels)."""
FEW = 64
"""Tokens below which weights are not packed: to bring them to another form costs more than some products of few."""

SMALL = 20480
"""Numbers up to which PyTorch does not give the convolution of one image to oneDNN: a product is faster then."""

Packed = tuple[Tensor, Tensor | None]
_PACKED: ContextVar[dict[tuple[nn.Parameter, torch.dtype], Packed] | None] = ContextVar("packed", default=None)


@contextmanager
def packed() -> Iterator[None]:
    """Within it weights must stay as they are: the layers bring them to the form that oneDNN multiplies by, once.

    Without it PyTorch brings them there at every product in bfloat16, and gives those in float32 to MKL, which on AMD's
    processors reaches half of oneDNN's rate. It pays where the same weights are used again and again, as in a search.
    """
    token = _PACKED.set({})
    try:
        yield
    finally:
        _PACKED.reset(token)


class Linear(nn.Linear):
    """A linear layer, done as the 1 x 1 convolution that it is where that is faster: on AMD's processors.

    PyTorch gives convolutions to oneDNN and float32 products to MKL, which on AMD's processors reaches half of
    oneDNN's rate; in bfloat16 both go to oneDNN, and the convolution is ahead from some thousand tokens.
    Where weights are `packed` and no gradient is asked for, oneDNN has them in its own form, which is faster still.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., in_features) -> (..., out_features)."""
        return self._packed_product(x, "none") if self._pays(x) else self._product(x)

    def _ours(self, x: Tensor) -> bool:
        # An exported program is for any processor and any number of samples.
        ours = ONEDNN and not torch.compiler.is_exporting()
        return ours and x.device.type == "cpu" and self.weight.dtype == torch.float32

    def _pays(self, x: Tensor) -> bool:
        """Whether it is done with packed weights."""
        if _PACKED.get() is None or torch.is_grad_enabled() or not self._ours(x):
            return False
        return x.numel() >= FEW * self.in_features and isinstance(self.weight, nn.Parameter)

    def _convolves(self, x: Tensor) -> bool:
        """Whether it is done as a convolution."""
        if not CONVOLVES or not self._ours(x) or x.ndim != 3 or x.numel() <= SMALL:
            return False
        return not torch.is_autocast_enabled("cpu") or len(x) * x.shape[1] >= MANY

    def _product(self, x: Tensor) -> Tensor:
        if not self._convolves(x):
            return F.linear(x, self.weight, self.bias)
        # Many samples of few tokens, as in a rollout, make one long row.
        row = x.flatten(0, 1)[None] if len(x) > x.shape[1] else x
        image = F.conv2d(row.transpose(1, 2).unsqueeze(2), self.weight[:, :, None, None], self.bias)
        return image.squeeze(2).transpose(1, 2).reshape(*x.shape[:2], -1)

    def _packed_product(self, x: Tensor, then: str) -> Tensor:
        """With packed weights; `then` is what oneDNN does to the outcome before it writes that down."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype), *self._packed(dtype), then, [], "none")
        return found

    def _packed(self, dtype: torch.dtype) -> Packed:
        """Weight and bias as oneDNN has them; kept until `packed` ends."""
        kept = _PACKED.get()
        assert kept is not None and isinstance(self.weight, nn.Parameter)
        if (self.weight, dtype) not in kept:
            weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.to(dtype))
            kept[self.weight, dtype] = weight, None if self.bias is None else self.bias.to(dtype)
        return kept[self.weight, dtype]


class GELULinear(Linear):
    """A linear layer and the GELU behind it, in one pass over the outcome where weights are packed."""

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., in_features) -> (..., out_features)."""
        return self._packed_product(x, "gelu") if self._pays(x) else F.gelu(self._product(x))
