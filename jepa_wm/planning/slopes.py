"""Costs of candidates, and which way is up."""

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.planning.incumbent import Incumbent


def slopes(best: Incumbent, candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The costs (E, S) and their gradients (E, S, K, A) at the first `count` of candidates (E, S, K, A).

    The others, whom the budget does not reach any more, cost infinity. A gradient is 0 where it is no number. No other
    tensor gets a gradient, and it does not matter whether the caller had gradients turned off.

    Raises:
        UserError: if the cost cannot be differentiated.
    """
    with torch.enable_grad():
        tried = candidates[:, :count].detach().requires_grad_()
        found = best.judge(tried)
        if not found.requires_grad:
            raise UserError(
                "plan: this cost has no gradient with respect to actions; use a planner that needs none, such as CEM"
            )
        (gradient,) = torch.autograd.grad(found.sum(), tried)
    costs = torch.full_like(candidates[:, :, 0, 0], torch.inf)
    costs[:, :count] = found.detach()
    slope = torch.zeros_like(candidates)
    slope[:, :count] = gradient.where(gradient.isfinite(), 0)
    return costs, slope
