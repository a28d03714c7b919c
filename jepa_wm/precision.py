"""bfloat16 wherever the hardware has it."""

import torch
from torch import Tensor


def has_bf16(device: str) -> bool:
    """Whether `device` ("cpu", "cuda", "mps") multiplies bfloat16 matrices in hardware.

    A CPU without it (AVX-512 BF16) only emulates them, which is slower than float32.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.cpu._is_avx512_bf16_supported()


def at_least_float32(x: Tensor) -> Tensor:
    """The same numbers, in float32 if they were in half precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def mixed(device: str, weights: torch.dtype = torch.float32) -> torch.autocast:
    """A context in which matrix products run in bfloat16, where the hardware has it or `weights` are in it."""
    enabled = weights == torch.bfloat16 or has_bf16(device)
    return torch.autocast(device if device in ("cpu", "cuda") else "cpu", torch.bfloat16, enabled=enabled)
