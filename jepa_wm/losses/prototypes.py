"""Self-distillation by prototypes: a teacher's assignments, evened out, and the student's cross-entropy to them."""

import torch
from torch import Tensor

from jepa_wm import distributed


@torch.no_grad()
def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Assign rows (n, K) to K prototypes so that all are used alike, over all ranks; each row sums to 1.

    Ranks may have different numbers of rows, none among them.

    Source: SwAV (arXiv 2006.09882), as in DINOv2 and v3 (official code), with the largest logit over all ranks taken
    off first, so that nothing overflows; works without a process group.
    """
    scores = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    peak = scores.max() if scores.numel() else scores.new_tensor(-torch.inf)
    weights = torch.exp((scores - distributed.all_reduce_max(peak)) / temperature)
    weights = weights / distributed.all_reduce_sum(weights.sum())
    rows = distributed.all_reduce_sum(weights.new_tensor(float(len(weights))))
    for _ in range(iterations):
        weights = weights / (distributed.all_reduce_sum(weights.sum(dim=0, keepdim=True)) * weights.shape[1])
        weights = weights / (weights.sum(dim=1, keepdim=True) * rows)
    return weights * rows


def cross_entropy(logits: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of the student's logits (..., K) to a teacher's assignments (..., K) -> (...)."""
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    return -(targets * torch.log_softmax(logits / temperature, dim=-1)).sum(dim=-1)


def cross_views(logits: Tensor, targets: Tensor, temperature: float, same: bool) -> Tensor:
    """Mean cross-entropy of each of S student views (S, B, K) to each of T teacher views (T, B, K).

    Args:
        logits: the student's.
        targets: the teacher's assignments.
        temperature: the student's.
        same: whether the first views of both are the same pictures, which are then not compared.
    """
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    scores = torch.log_softmax(logits / temperature, dim=-1)
    terms = -torch.einsum("sbk,tbk->st", scores, targets.to(scores.dtype)) / logits.shape[1]
    if same:
        terms = terms * (1.0 - torch.eye(*terms.shape, device=terms.device, dtype=terms.dtype))
    return terms.sum() / (terms.numel() - (min(terms.shape) if same else 0))
