"""Poses of a gripper: position, angles about the fixed axes x, y and z in this order, and how closed it is."""

import torch
from torch import Tensor


def moved(pose: Tensor, motion: Tensor) -> Tensor:
    """The pose after a motion: positions and closedness add up, rotations follow each other.

    Args:
        pose: (..., 7), in metres, radians, and a closedness in [0, 1].
        motion: (..., 7), the same; its rotation is about the axes of the room.

    Returns:
        The next pose (..., 7), its angles in (-pi, pi], closedness within [0, 1].

    Source: V-JEPA 2-AC (arXiv 2506.09985) plans so; written anew, for batches and with gradient.
    """
    turned = angles(_product(rotation(motion[..., 3:6]), rotation(pose[..., 3:6])))
    closed = (pose[..., 6:] + motion[..., 6:]).clamp(0.0, 1.0)
    return torch.cat([pose[..., :3] + motion[..., :3], turned, closed], dim=-1)


def rotation(turns: Tensor) -> Tensor:
    """Angles (..., 3) about the fixed axes x, then y, then z -> the matrix (..., 3, 3)."""
    (cx, cy, cz), (sx, sy, sz) = turns.cos().unbind(-1), turns.sin().unbind(-1)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def angles(matrix: Tensor) -> Tensor:
    """The inverse of `rotation`, with the second angle in [-pi / 2, pi / 2]."""
    (xx, _, _), (yx, _, _), (zx, zy, zz) = (row.unbind(-1) for row in matrix.unbind(-2))
    return torch.stack([torch.atan2(zy, zz), torch.atan2(-zx, torch.hypot(xx, yx)), torch.atan2(yx, xx)], dim=-1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The product of matrices (..., 3, 3), which mixed precision leaves alone, as it would not a matrix product."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(dim=-2)
