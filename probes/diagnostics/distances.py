"""Whether what is near in latents is near in the world: planners go where the latent distance is small."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from jepa_wm.envs import PUSH_T, tee
from jepa_wm.envs.geometry import path_distance
from probes.diagnostics.ranks import spearman
from probes.diagnostics.rows import Row, ratio, row

Factors = Mapping[str, np.ndarray]


def planning_distance(latents: Tensor, truth: Tensor, name: str, control: str = "model", seed: int = 0) -> list[Row]:
    """How well latent distances to a goal order the true ones; every frame of an episode is a goal for the others.

    `<name>_spearman` is the rank correlation of latent and true distances to a goal, over the episode's other frames,
    averaged over goals; `<name>_auc` is how often the frame that is truly nearer to the goal is the nearer one in
    latents, equal ones counting half.

    Args:
        latents: (E, T, d).
        truth: true distances (E, T, T) between the frames of an episode.
        name: of that distance.
        control: whose latents.
        seed: of the resampling of episodes.
    """
    z = latents.double()
    # By matrix products equal frames would come to lie at unequal distances.
    apart = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")
    found, truth = others(apart), others(truth.double())
    # A goal that all frames are equally far from says nothing, and is not counted.
    varies = (truth != truth[..., :1]).any(dim=-1)
    correlation = spearman(found, truth).sum(dim=1)
    nearer = truth[..., :, None] < truth[..., None, :]
    right = (found[..., :, None] < found[..., None, :]).double() + (found[..., :, None] == found[..., None, :]) / 2
    return [
        row(f"{name}_spearman", ratio(correlation, varies.sum(dim=1), 0.0, seed), control),
        row(f"{name}_auc", ratio((right * nearer).sum(dim=(1, 2, 3)), nearer.sum(dim=(1, 2, 3)), 0.5, seed), control),
    ]


def others(square: Tensor) -> Tensor:
    """Distances (E, T, T) without those of a frame from itself: (E, T, T - 1)."""
    episodes, size, _ = square.shape
    return square[:, ~torch.eye(size, dtype=torch.bool)].view(episodes, size, size - 1)


def true_distances(state: Tensor, factors: Factors | None) -> Tensor:
    """Distances (E, T, T) of states (E, T, P): the shortest way through a door in two rooms of such factors (E, ...);
    Euclidean where there are none."""
    size = state.shape[1]
    one, other = state[:, :, None].expand(-1, -1, size, -1), state[:, None].expand(-1, size, -1, -1)
    return ways(one, other, factors)


def step_distances(state: Tensor) -> Tensor:
    """Steps (E, T, T) between the frames of states (E, T, P)."""
    time = torch.arange(state.shape[1], dtype=torch.float64)
    return (time[:, None] - time).abs().expand(len(state), -1, -1)


def places(state: Tensor, environment: str | None, factors: Factors) -> Tensor:
    """What of states (E, ..., P) says where things are, in units of lengths: all of them but in Push-T.

    There two states then lie as far apart as the pusher has moved and the block's points have, by root mean square: a
    turn counts as far as it moves them. The pusher's velocity, which no goal asks for, does not count.

    Args:
        state: of each episode.
        environment: gymnasium id.
        factors: of each episode's world (E, ...).
    """
    if environment != PUSH_T:
        return state
    arm = torch.from_numpy(np.asarray(factors["block_scale"] * tee.UNIT * tee.GYRATION)).to(state)
    turned = arm.view(-1, *(1,) * (state.ndim - 1)) * state[..., 4:6]
    return torch.cat([state[..., :4], turned], dim=-1)


def ways(states: Tensor, goals: Tensor, factors: Factors | None) -> Tensor:
    """Distances (E, ...) of states from goals, each (E, ..., P), as `true_distances`."""
    if factors is None:
        return (states.double() - goals.double()).norm(dim=-1)
    shape, each = states.shape[:-1], states[0, ..., 0].numel()
    repeated = {name: values.repeat(each, axis=0) for name, values in factors.items()}
    points, ends = (part.reshape(-1, 2).double().numpy() for part in (states, goals))
    return torch.from_numpy(path_distance(points, ends, repeated)).view(shape)
