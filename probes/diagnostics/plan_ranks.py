"""Whether the plans that a model thinks best are: its costs of random plans beside what these really lead to."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jepa_wm.control.playback import play_back
from jepa_wm.world_model import WorldModel
from probes.diagnostics.distances import Factors, ways
from probes.diagnostics.ranks import spearman
from probes.diagnostics.rows import Row, mean, row
from probes.drift import Film, encode
from probes.features import BATCH


class Played(NamedTuple):
    """What S random plans from the beginning of each of E episodes really lead to.

    Attributes:
        actions: blocks (E, S, K, frame_skip * A).
        pixels: at their ends, uint8 (E, S, C, H, W).
        state: at their ends, (E, S, P).
    """

    actions: Tensor
    pixels: Tensor
    state: Tensor


def play_plans(
    environment: str, film: Film, factors: Factors, model: WorldModel, plans: int = 32, seed: int = 0
) -> Played:
    """Draw plans, uniform within the model's bounds and held for a block, as planners do; and play them.

    Args:
        environment: gymnasium id of a world of ours.
        film: the episodes; plans are as long.
        factors: of each episode's world, (E, ...).
        model: says what actions there are.
        plans: S.
        seed: of the plans.

    Raises:
        UserError: as `play_back`.
    """
    low, high = (bound.cpu() for bound in (model.bounds.low, model.bounds.high))
    episodes, blocks, wide = film.actions.shape
    skip = wide // len(low)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(episodes, plans, blocks, 1, len(low), generator=generator) * (high - low) + low
    steps = drawn.expand(-1, -1, -1, skip, -1)
    ending = play_back(
        environment,
        film.pixels.shape[-1],
        film.state[:, 0].repeat_interleave(plans, dim=0).numpy(),
        {name: np.repeat(values, plans, axis=0) for name, values in factors.items()},
        steps.reshape(episodes * plans, blocks * skip, -1).numpy(),
    )
    pixels, state = (torch.from_numpy(part).unflatten(0, (episodes, plans)) for part in ending)
    return Played(steps.flatten(-2), pixels, state)


@torch.no_grad()
def predicted_costs(model: WorldModel, film: Film, actions: Tensor) -> Tensor:
    """How far plans (E, S, K, frame_skip * A) are imagined to end from an episode's last frame, in latents: (E, S)."""
    ends = torch.cat(
        [
            model.imagine(pixels, plans.flatten(0, 1), state=state, clip=True)
            .latents[:, -1]
            .cpu()
            .unflatten(0, plans.shape[:2])
            for pixels, plans, state in zip(
                *(
                    part.split(max(1, BATCH // actions.shape[1]))
                    for part in (film.pixels[:, 0], actions, film.state[:, 0])
                ),
                strict=True,
            )
        ]
    )
    return _from_goal(model, film, ends)


def real_costs(model: WorldModel, film: Film, played: Played) -> Tensor:
    """How far plans really end from an episode's last frame, in latents: (E, S)."""
    ends = encode(model, played.pixels.flatten(0, 1), played.state.flatten(0, 1))
    return _from_goal(model, film, ends.unflatten(0, played.state.shape[:2]))


def plan_ranks(
    model: WorldModel, film: Film, played: Played, truth: Tensor, control: str = "model", seed: int = 0
) -> list[Row]:
    """Rank correlations over plans of what a model expects them to cost and what they do, averaged over episodes.

    `plan_spearman_latent` is with how far they really end from the goal in latents, which tells of the predictor
    alone; `plan_spearman_state` with how far in the world. The goal is the last frame of an episode.

    Args:
        model: the world model.
        film: the episodes.
        played: what the plans really lead to.
        truth: how far they really end from the goal in the world, (E, S), as `true_costs` gives it.
        control: whose expectations these are.
        seed: of the resampling of episodes.
    """
    expected = predicted_costs(model, film, played.actions)
    against = {"latent": real_costs(model, film, played), "state": truth}
    return [
        row(f"plan_spearman_{name}", mean(spearman(expected, cost.to(expected)), 0.0, seed), control)
        for name, cost in against.items()
    ]


def foresight(model: WorldModel, film: Film, played: Played, truth: Tensor, seed: int = 0) -> list[Row]:
    """`plan_spearman_state` of a model that would foresee every latent: what its encoder leaves to be gained."""
    found = mean(spearman(real_costs(model, film, played), truth), 0.0, seed)
    return [row("plan_spearman_state", found, "perfect_dynamics")]


def true_costs(film: Film, played: Played, factors: Factors | None) -> Tensor:
    """How far plans end from an episode's last state, (E, S): by the shortest way where `factors` tell of doors."""
    return ways(played.state, film.state[:, -1:].expand_as(played.state), factors)


def _from_goal(model: WorldModel, film: Film, ends: Tensor) -> Tensor:
    goal = encode(model, film.pixels[:, -1], film.state[:, -1])
    return (ends - goal[:, None]).square().mean(dim=(-2, -1))
