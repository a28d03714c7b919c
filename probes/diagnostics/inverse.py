"""Whether two frames tell what was done between them."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from probes.linear import Split, ridge_probe


def inverse_dynamics(latents: dict[str, Tensor], actions: dict[str, Tensor], seed: int = 0) -> Score:
    """R² of the mean action of a block, read off the latents before and after it by ridge.

    The mean, since a block's steps add up to what is seen: which came first often cannot be told. Splits are of
    episodes, the interval resamples whole ones, the null is trained on the actions of other episodes.

    Args:
        latents: (E, T, d) of "train", "val" and "test".
        actions: (E, T - 1, A) of each, the mean of each block.
        seed: of the null and of the interval.

    Raises:
        UserError: as `ridge_probe`.
    """
    splits, groups, begin = [], [], 0
    for name in ("train", "val", "test"):
        z, a = latents[name], actions[name]
        splits.append(_pairs(z, a))
        groups.append(begin + torch.arange(len(z)).repeat_interleave(a.shape[1]))
        begin += len(z)
    train, val, test = splits
    return ridge_probe(train, val, test, torch.cat(groups), seed).r2


def _pairs(z: Tensor, a: Tensor) -> Split:
    return torch.cat([z[:, :-1], z[:, 1:]], dim=-1).flatten(0, 1), a.flatten(0, 1)
