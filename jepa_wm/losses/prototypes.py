"""Self-distillation by prototypes: a teacher's assignments, evened out, and the student's cross-entropy to them."""

import torch
from torch import Tensor

from jepa_wm import distributed
from jepa_wm.precision import at_least_float32


@torch.no_grad()
def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Assign rows (n, K) to K prototypes so that all are used alike, over all ranks; each row sums to 1.

    Ranks may have different numbers of rows, none among them.

    Source: SwAV (arXiv 2006.09882), as in DINOv2 and v3 (official code), but in logarithms, so that a row or prototype
    far below the others is neither lost nor divided by zero; works without a process group.
    """
    scores = at_least_float32(logits) / temperature
    # Neither the number of rows nor of prototypes is divided by: rows sum to 1 in the end whatever they summed to.
    for _ in range(iterations):
        scores = scores - _log_sum_over_ranks(scores)
        scores = torch.log_softmax(scores, dim=1)
    return scores.exp()


def _log_sum_over_ranks(scores: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials over the rows (n, K) of all ranks -> (K,)."""
    largest = scores.amax(dim=0) if len(scores) else scores.new_full(scores.shape[1:], -torch.inf)
    peak = distributed.all_reduce_max(largest)
    return peak + distributed.all_reduce_sum((scores - peak).exp_().sum(dim=0)).log()


def cross_entropy(logits: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of the student's logits (..., K) to a teacher's assignments (..., K) -> (...)."""
    logits = at_least_float32(logits)
    return -(targets * torch.log_softmax(logits / temperature, dim=-1)).sum(dim=-1)


def cross_views(logits: Tensor, targets: Tensor, temperature: float, same: bool) -> Tensor:
    """Mean cross-entropy of each of S student views (S, B, K) to each of T teacher views (T, B, K).

    Args:
        logits: the student's.
        targets: the teacher's assignments.
        temperature: the student's.
        same: whether the first views of both are the same pictures, which are then not compared.
    """
    logits = at_least_float32(logits)
    scores = torch.log_softmax(logits / temperature, dim=-1)
    terms = -torch.einsum("sbk,tbk->st", scores, targets.to(scores.dtype)) / logits.shape[1]
    if same:
        terms = terms * (1.0 - torch.eye(*terms.shape, device=terms.device, dtype=terms.dtype))
    return terms.sum() / (terms.numel() - (min(terms.shape) if same else 0))
