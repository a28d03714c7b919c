"""Optimisation: parameter groups and moving averages."""

import torch
from torch import nn


def adamw(module: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    """AdamW, fused, over the trainable parameters; vectors and scalars (biases, norms) do not decay."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)


@torch.no_grad()
def ema_update(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move `average` towards `module`: average = decay * average + (1 - decay) * module."""
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1.0 - decay)
