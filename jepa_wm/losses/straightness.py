"""How sharply a path bends."""

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32


def curvature(x: Tensor, eps: float = 1e-4) -> Tensor:
    """Mean of 1 minus the cosine of consecutive velocities: 0 on a straight line, 1 at right angles, 2 on the way back.

    Args:
        x: paths (..., T, D).
        eps: a step shorter than this has no direction, and its two bends count as none.

    Raises:
        UserError: if a path has fewer than three points.

    Source: temporal straightening (arXiv 2603.12231). Steps that lead nowhere, as against a wall, have a cosine of 0
    and a gradient without bound there.
    """
    if x.shape[-2] < 3:
        raise UserError(f"curvature: got paths of {x.shape[-2]} points; expected three at least")
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        velocity = x.diff(dim=-2)
        moves = velocity.detach().norm(dim=-1) > eps
        cosine = F.cosine_similarity(velocity[..., 1:, :], velocity[..., :-1, :], dim=-1)
        return torch.where(moves[..., 1:] & moves[..., :-1], 1.0 - cosine, 0.0).mean()
