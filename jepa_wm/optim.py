"""Optimisation: parameter groups, their rates, and moving averages."""

from typing import Any

import torch
from torch import nn

from jepa_wm.errors import UserError

EMBEDDINGS = ("embed", "image_embed", "patch_embed", "convolutions")
"""What turns patches into tokens, below an encoder's first block."""

TOKENS = (
    *("mask_token", "mask_tokens", "cls_token", "dist_token", "reg_token", "registers", "prefix_tokens", "modality"),
    *("positions.table", "position_table", "pos_embed", "place"),
    *("positional_embedding", "position_embeddings", "class_embedding"),
    *("latent", "logit_scale", "logit_bias"),
)
"""Parameters that are tokens, tables of them, or temperatures: decay would only pull them towards nothing."""

TABLES = ("position_embedding.weight", "position_embeddings.weight")
"""Tables of positions that are layers, as in the text encoders of transformers."""

MEMBERS = "members/"
"""What the names of an ensemble's tensors begin with: each has one dimension more, that of the members."""


def adamw(
    module: nn.Module,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    layer_decay: float = 1.0,
    eps: float = 1e-8,
    encoder_lr_scale: float = 1.0,
) -> torch.optim.AdamW:
    """AdamW, fused, over the trainable parameters; vectors, scalars (biases, norms) and `TOKENS` do not decay.

    Args:
        module: what is trained; `module.encoder`, or itself where it has none, is what `layer_decay` and
            `encoder_lr_scale` are for.
        lr: learning rate.
        weight_decay: decay of matrices.
        betas: decay of both moments.
        layer_decay: factor on the rate from block to block downwards: block i of n learns at
            `lr * layer_decay ** (n - i)`, what lies below the blocks at `lr * layer_decay ** (n + 1)`.
        eps: AdamW's.
        encoder_lr_scale: factor on the rate of all of the encoder, for one that has learned beside what has not.

    Raises:
        UserError: if `layer_decay` or `encoder_lr_scale` is not in (0, 1], or the first below 1 where the encoder has
            no `blocks`.

    Source: layer decay as BEiT (arXiv 2106.08254) and DINOv2 (arXiv 2304.07193).
    """
    if not 0.0 < layer_decay <= 1.0:
        raise UserError(f"layer_decay: got {layer_decay}; expected more than 0 and at most 1, which is no decay")
    if not 0.0 < encoder_lr_scale <= 1.0:
        raise UserError(
            f"encoder_lr_scale: got {encoder_lr_scale}; expected more than 0 and at most 1, which is the rate of the "
            "rest; an encoder that is not to learn is frozen by its objective"
        )
    encoder = getattr(module, "encoder", module)
    if layer_decay < 1.0 and not hasattr(encoder, "blocks"):
        raise UserError(f"layer_decay: got {layer_decay}, but {type(encoder).__name__} has no `blocks`; expected 1")
    # An objective may have its encoder within a student.
    prefix = next((f"{where}." if where else "" for where, part in module.named_modules() if part is encoder), None)
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim - (MEMBERS in name) > 1 and not _is_token(name)
            own = prefix is not None and name.startswith(prefix)
            part = name.removeprefix(prefix or "")
            scale = encoder_lr_scale * _scale(encoder, part, layer_decay) if own else 1.0
            group = groups.setdefault((decays, scale), {"params": [], "decays": decays, "lr_scale": scale})
            group["params"].append((name, parameter))
    if not groups:
        raise UserError(
            "there is nothing to train: every parameter is frozen; expected some to learn, see freeze_encoder"
        )
    optimizer = torch.optim.AdamW(list(groups.values()), betas=betas, eps=eps, fused=True)
    set_rates(optimizer, lr, weight_decay)
    return optimizer


def set_rates(optimizer: torch.optim.Optimizer, lr: float, weight_decay: float) -> None:
    """Give each of `adamw`'s groups its share of the learning rate, and the weight decay if it decays."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
        group["weight_decay"] = weight_decay if group["decays"] else 0.0


def _is_token(name: str) -> bool:
    return f".{name}".replace("/", ".").endswith(tuple(f".{token}" for token in (*TOKENS, *TABLES)))


def _scale(encoder: Any, name: str, layer_decay: float) -> float:
    """The share of the learning rate that the parameter of this name of an encoder gets."""
    blocks = getattr(encoder, "blocks", None)
    if blocks is None:
        return 1.0
    part, _, rest = name.partition(".")
    if part == "blocks":
        return float(layer_decay ** (len(blocks) - int(rest.partition(".")[0])))
    # The query of a pooling stands above the blocks.
    below = part in EMBEDDINGS or (_is_token(name) and part != "pool")
    return float(layer_decay ** (len(blocks) + 1)) if below else 1.0


@torch.no_grad()
def ema_update(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move `average` towards `module`: average = decay * average + (1 - decay) * module; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1.0 - decay)
    if buffers := list(average.buffers()):
        torch._foreach_copy_(buffers, list(module.buffers()))
