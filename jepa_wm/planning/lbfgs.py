"""L-BFGS on actions, within their bounds."""

import math

import torch
from torch import Tensor

from jepa_wm.planning.descent import Descent, Slope, dot

CURVED = 1e-6
"""The cosine between a move and the change of the gradient from which on the pair says something of the curvature."""


class LBFGS(Descent):
    """Go down from several starts at once, by steps that learn the curvature of the cost from their own past.

    Each start of each environment has a search of its own, so that a plan does not depend on the batch. Actions at a
    bound that hinders them stay there, and the others move as if these were given.

    Args:
        restarts: starts S, the mean and others drawn around it; each is a candidate a round.
        iterations: rounds.
        memory: the latest rounds whose moves are remembered.

    Raises:
        UserError: if a count is below 1; from `plan`, if the cost cannot be differentiated.

    Source: Liu & Nocedal 1989; bounds as in Bertsekas 1982, each trial projected and what a bound holds left out. The
    step is halved until the cost falls enough, without the condition on curvature of Wolfe: pairs that show none are
    left out instead, and no round has more than one evaluation of a point. `torch.optim.LBFGS` would take one step
    length for the whole batch.
    """

    growth = math.inf

    def __init__(self, restarts: int = 16, iterations: int = 40, memory: int = 10) -> None:
        self.restarts, self.iterations, self.memory = restarts, iterations, memory
        self._require(min(restarts, iterations, memory) >= 1, "counts of 1 or more")

    def direction(self, slope: Slope) -> Tensor:
        """The quasi-Newton step, from what the remembered moves say of the curvature."""
        scale = slope.scale * slope.free
        moves, changes = (torch.stack(part) * slope.free for part in zip(*slope.pairs, strict=True))
        curvature, bend = dot(moves, changes), dot(scale * changes, scale * changes)
        curved = curvature > CURVED * (dot(moves, moves) * dot(changes, changes)).sqrt()
        share = torch.where(curved, 1 / curvature, 0)
        # The first step goes as far as `scale` says, in the action that changes most.
        steepest = (scale * slope.gradient).abs().amax(dim=(-2, -1))
        size = 1 / torch.where(steepest > 0, steepest, 1)
        weights, rest = torch.zeros_like(share), slope.gradient
        for i in reversed(range(len(moves))):
            weights[i] = share[i] * dot(moves[i], rest)
            rest = rest - weights[i, ..., None, None] * changes[i]
            size = torch.where(curved[i] & ~curved[i + 1 :].any(dim=0), curvature[i] / bend[i], size)
        step = size[..., None, None] * scale.square() * rest
        for i in range(len(moves)):
            step = step + (weights[i] - share[i] * dot(changes[i], step))[..., None, None] * moves[i]
        return -step
