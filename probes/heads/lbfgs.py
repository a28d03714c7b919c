"""L-BFGS on many problems at once."""

from collections.abc import Callable

import torch
from torch import Tensor

MEMORY = 10
"""Steps of which the curvature is remembered."""
DESCENT = 1e-4
"""Share of the promised descent that a step must keep (Armijo)."""

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Points (A, m) of the problems numbered (A,) -> their values (A,) and gradients (A, m)."""


def minimise(objective: Objective, start: Tensor, tolerance: float, steps: int = 1000) -> tuple[Tensor, Tensor]:
    """Minimise P smooth convex functions of m variables each, all in one batch.

    A problem leaves the batch once it is solved, so the easy ones cost little.

    Args:
        objective: with Hessians that do not exceed the identity; then the first step, down the whole gradient, is safe.
        start: (P, m), float64.
        tolerance: greatest entry of the gradient of a problem that is solved.
        steps: after which what is not solved is left as it is.

    Returns:
        The points (P, m) and the greatest entry of each gradient (P,).

    Source: Nocedal & Wright 2006, algorithm 7.5, with steps halved until they descend; on convex functions a pair of a
    step and its change of gradient then has curvature above 0, or is left out where rounding hides it.
    """
    x, alive = start.clone(), torch.arange(len(start))
    found, largest = start.clone(), torch.zeros(len(start), dtype=start.dtype)
    value, gradient = objective(x, alive)
    moves, changes = (start.new_zeros(MEMORY, *start.shape) for _ in range(2))
    for step in range(steps + 1):
        found[alive], largest[alive] = x, gradient.abs().amax(dim=1)
        open_ = largest[alive] > tolerance
        if step == steps or not open_.any():
            break
        if not open_.all():
            x, value, gradient, alive = x[open_], value[open_], gradient[open_], alive[open_]
            moves, changes = moves[:, open_], changes[:, open_]
        direction = -_apply(gradient, moves, changes)
        moved, value, new = _descend(objective, alive, x, value, gradient, direction)
        moves = torch.cat([moves[1:], (moved - x)[None]])
        changes = torch.cat([changes[1:], (new - gradient)[None]])
        x, gradient = moved, new
    return found, largest


def _apply(gradient: Tensor, moves: Tensor, changes: Tensor) -> Tensor:
    """The inverse Hessian that steps (M, A, m) and changes of gradient (M, A, m) tell of, times gradients (A, m)."""
    curvature = (moves * changes).sum(dim=-1)
    size = changes.square().sum(dim=-1)
    known = curvature > 1e-12 * size
    inverse = torch.where(known, 1 / torch.where(known, curvature, 1.0), 0.0)
    result, shares = gradient.clone(), []
    for move, change, rho in zip(moves.flip(0), changes.flip(0), inverse.flip(0), strict=True):
        share = rho * (move * result).sum(dim=-1)
        shares.append(share)
        result -= share[:, None] * change
    result *= torch.where(known[-1], curvature[-1] / torch.where(known[-1], size[-1], 1.0), 1.0)[:, None]
    for move, change, rho, share in zip(moves, changes, inverse, reversed(shares), strict=True):
        result += (share - rho * (change * result).sum(dim=-1))[:, None] * move
    return result


def _descend(
    objective: Objective, alive: Tensor, x: Tensor, value: Tensor, gradient: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """New points, values and gradients: steps along `direction`, halved for problems that do not descend enough."""
    slope = (gradient * direction).sum(dim=1)
    length = torch.ones_like(value)
    # Near the minimum a value's own rounding hides the descent.
    slack = 1e-14 * (1 + value.abs())
    moved, new_value, new_gradient = x + direction, *objective(x + direction, alive)
    for _ in range(40):
        bad = (~(new_value <= value + DESCENT * length * slope + slack)).nonzero()[:, 0]
        if not len(bad):
            break
        length[bad] *= 0.5
        moved[bad] = x[bad] + length[bad, None] * direction[bad]
        new_value[bad], new_gradient[bad] = objective(moved[bad], alive[bad])
    return moved, new_value, new_gradient
